"""The ensembler as a service."""

from __future__ import annotations

import asyncio
import contextlib

import grpc

from ferry.v1 import ensembler_pb2, ensembler_pb2_grpc
from services.ensembler.pipeline import Pipeline
from services.ensembler.probe import probe, probe_forever
from services.ensembler.recipe import Recipe
from services.ensembler.settings import EnsemblerSettings
from serving.server import Service

_FIRST_LOOK_SECONDS = 1.0


class EnsemblerService(Service, ensembler_pb2_grpc.EnsemblerServicer):
    """Serves ferry.v1.Ensembler."""

    name = "ensembler"
    grpc_services = ("ferry.v1.Ensembler",)
    compared = "/ferry.v1.Ensembler/Recognize"

    def __init__(self, settings: EnsemblerSettings, recipe: Recipe) -> None:
        self._settings = settings
        self._pipeline = Pipeline(recipe, settings.patience)
        self._probing: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        ensembler_pb2_grpc.add_EnsemblerServicer_to_server(self, server)

    async def start(self) -> None:
        """Looks once at every model; one that does not answer, or hangs, keeps nobody from starting."""
        settings = self._settings
        self._pipeline.connect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await probe(self._pipeline, settings.stale_after)
        self._probing = asyncio.create_task(
            probe_forever(self._pipeline, settings.probe_interval, settings.stale_after)
        )

    async def stop(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._pipeline.close()

    async def Recognize(  # noqa: N802
        self,
        request: ensembler_pb2.EnsemblerRecognizeRequest,
        context: grpc.aio.ServicerContext[
            ensembler_pb2.EnsemblerRecognizeRequest, ensembler_pb2.EnsemblerRecognizeResponse
        ],
    ) -> ensembler_pb2.EnsemblerRecognizeResponse:
        return await self._pipeline.recognize(request.image, request.options)

    async def GetPipeline(  # noqa: N802
        self,
        request: ensembler_pb2.GetPipelineRequest,
        context: grpc.aio.ServicerContext[ensembler_pb2.GetPipelineRequest, ensembler_pb2.GetPipelineResponse],
    ) -> ensembler_pb2.GetPipelineResponse:
        return self._pipeline.describe()
