"""Ensemblers before fake models, started with the recipe a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from ferry.v1 import ensembler_pb2, ensembler_pb2_grpc
from services.ensembler.recipe import Recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from tests.services.ensembler.fakes import Models, running_models
from tests.services.running import serve


@dataclass
class Caller:
    """Calls a running ensembler."""

    stub: Any

    def call(self, timeout: float = 30, metadata: Any = None, **options: Any) -> Any:
        """A call that has begun."""
        request = ensembler_pb2.EnsemblerRecognizeRequest(
            image=b"any", options=ensembler_pb2.RecognizeOptions(**options)
        )
        return self.stub.Recognize(request, timeout=timeout, metadata=metadata)

    async def recognize(self, **options: Any) -> ensembler_pb2.EnsemblerRecognizeResponse:
        response: ensembler_pb2.EnsemblerRecognizeResponse = await self.call(**options)
        return response

    async def pipeline(self) -> ensembler_pb2.GetPipelineResponse:
        response: ensembler_pb2.GetPipelineResponse = await self.stub.GetPipeline(
            ensembler_pb2.GetPipelineRequest(), timeout=30
        )
        return response

    async def available(self) -> list[bool]:
        return [entry.available for entry in (await self.pipeline()).entries]


Start = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    async with running_models() as models:
        yield models


@pytest.fixture
async def start(models: Models) -> AsyncIterator[Start]:
    """Starts an ensembler with `recipe`, by default that of the models; settings as keywords. It never probes again."""
    async with AsyncExitStack() as stack:

        async def start(recipe: dict[str, Any] | None = None, **changes: Any) -> Caller:
            settings = EnsemblerSettings(port=0, **{"probe_interval": 3600, "stale_after": 3600, **changes})
            chosen = models.recipe if recipe is None else Recipe.model_validate(recipe)
            channel = await stack.enter_async_context(serve(EnsemblerService(settings, chosen), settings))
            models.forget()
            return Caller(ensembler_pb2_grpc.EnsemblerStub(channel))

        yield start


@pytest.fixture
async def caller(start: Start) -> Caller:
    """Of an ensembler with the usual recipe."""
    return await start()
