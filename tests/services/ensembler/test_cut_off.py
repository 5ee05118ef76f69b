"""An ensembler that has no way to a detector, beside one that has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ferry.v1 import ensembler_pb2, ensembler_pb2_grpc
from services.ensembler.recipe import Recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from serving.errors import UnavailableError
from serving.rpc.upstream import Upstream
from serving.server import Server
from tests.processes import free_port
from tests.services.ensembler.fakes import Models, running_models

REQUEST = ensembler_pb2.EnsemblerRecognizeRequest(image=b"any")
SETTINGS = EnsemblerSettings(port=0, probe_interval=3600, stale_after=3600, patience=0.05, grace=0.1)


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    async with running_models() as models:
        yield models


def cut_off(models: Models) -> Recipe:
    """The recipe with a detector that nobody serves."""
    entry = models.recipe.detector.model_copy(update={"address": f"127.0.0.1:{free_port()}"})
    return models.recipe.model_copy(update={"detector": entry})


@asynccontextmanager
async def gateway(*recipes: Recipe) -> AsyncIterator[Upstream]:
    """As a gateway sees ensemblers with these recipes."""
    async with AsyncExitStack() as stack:
        ports = []
        for recipe in recipes:
            server = Server(EnsemblerService(SETTINGS, recipe), SETTINGS)
            await server.start()
            stack.push_async_callback(server.stop)
            ports.append(server.port)
        address = ",".join(f"127.0.0.1:{port}" for port in ports)
        where = Upstream(address, name="ensembler", health_service="ferry.v1.Ensembler", caller="test")
        stack.push_async_callback(where.close)
        yield where


async def ask(where: Upstream) -> ensembler_pb2.EnsemblerRecognizeResponse:
    stub: ensembler_pb2_grpc.EnsemblerStub = ensembler_pb2_grpc.EnsemblerStub(where.channel)
    answer: ensembler_pb2.EnsemblerRecognizeResponse = await where.call(
        stub.Recognize, REQUEST, timeout=30, patience=30
    )
    return answer


async def test_what_it_cannot_do_another_one_is_asked_for(models: Models) -> None:
    async with gateway(cut_off(models), models.recipe) as where:
        assert [len((await ask(where)).faces) for _ in range(6)] == [1] * 6


async def test_where_there_is_no_other_one_callers_are_told_who_is_away(models: Models) -> None:
    async with gateway(cut_off(models)) as where:
        with pytest.raises(UnavailableError, match="detector is not reachable"):
            await ask(where)
