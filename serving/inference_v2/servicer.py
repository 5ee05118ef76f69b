"""The protocol's gRPC service over the models of a service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

import grpc

import ferry
from ferry.inference import open_inference_grpc_pb2 as pb
from ferry.inference import open_inference_grpc_pb2_grpc as pb_grpc
from serving.errors import DeadlineError, InvalidArgumentError, NotFoundError
from serving.inference_v2 import answer, parameters, question
from serving.inference_v2.model import Models, Query, Reply
from serving.inference_v2.tensor import shown
from serving.rpc.context import current

# A string: the class is generic in its stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

SERVICE: Final = "inference.GRPCInferenceService"
PROBES: Final = frozenset({f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"})
"""Methods that are to be served as health is: always, and to everybody."""
EXTENSIONS: Final = ("model_configuration", "model_repository", "parameters")
_MANY_VALUES = 1 << 16
"""Typed contents of more values than this are read on a thread."""


class InferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Serves inference.GRPCInferenceService."""

    def __init__(self, models: Models, name: str, ready: Callable[[], bool]) -> None:
        """
        Args:
            models: that it offers.
            name: of the service.
            ready: whether it can answer at present.
        """
        self._models = models
        self._name = name
        self._ready = ready

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:  # noqa: N802
        return pb.ServerReadyResponse(ready=self._ready())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: N802
        answers = self._models.answers(_named(request.name), request.version)
        return pb.ModelReadyResponse(ready=self._ready() and answers)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=f"ferry-{self._name}", version=ferry.__version__, extensions=EXTENSIONS)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        return answer.metadata(self._models.describe(_named(request.name), request.version))

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:  # noqa: N802
        return answer.config(self._models.describe(_named(request.name), request.version))

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        if request.repository_name:
            raise NotFoundError(f"there is no repository {shown(request.repository_name)}; the only one has no name")
        entries = await self._models.index()
        return pb.RepositoryIndexResponse(
            models=[answer.index(entry) for entry in entries if entry.ready or not request.ready]
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802
        description = self._models.describe(_named(request.model_name, "model_name"), request.model_version)
        metadata = tuple(context.invocation_metadata() or ())
        if any(_values(tensor) > _MANY_VALUES for tensor in request.inputs):
            query = await asyncio.to_thread(question.read, request, description, metadata)
        else:
            query = question.read(request, description, metadata)
        reply = await self._infer(query, parameters.timeout(request.parameters))
        return answer.response(reply, query, request.id, as_typed=question.is_typed(request))

    async def _infer(self, query: Query, timeout: float | None) -> Reply:
        """
        Args:
            query: the question.
            timeout: seconds that it allows within the call's deadline; None: that alone counts.
        """
        context = current.get()
        if timeout is None or context is None or timeout >= context.remaining():
            return await self._models.infer(query)
        token = current.set(replace(context, deadline=time.monotonic() + timeout))
        try:
            async with asyncio.timeout(timeout):
                return await self._models.infer(query)
        except TimeoutError as error:
            raise DeadlineError(f"no answer within {timeout:.6g} s, the question's own timeout") from error
        finally:
            current.reset(token)


def register(server: grpc.aio.Server, models: Models, name: str, ready: Callable[[], bool]) -> None:
    """Adds the servicer to a server; arguments as InferenceServicer has them."""
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceServicer(models, name, ready), server)


def _named(name: str, field: str = "name") -> str:
    if not name:
        raise InvalidArgumentError(field, "is empty; say which model")
    return name


def _values(tensor: pb.ModelInferRequest.InferInputTensor) -> int:
    return max((len(values) for _, values in tensor.contents.ListFields()), default=0)
