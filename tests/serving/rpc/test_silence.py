"""Replicas whose event loop hangs while their connections live: real processes, asked through Upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import DeadlineError
from serving.rpc import context as request_context
from serving.rpc.silence import Silence
from serving.rpc.upstream import Upstream
from tests.processes import SERVING, free_port, health, process, until
from tests.serving.fakes import Endless, FakeService, running

REQUEST = classifier_pb2.ClassifyRequest()


@dataclass(frozen=True)
class Replica:
    """A process; `folder` holds what it does."""

    folder: Path
    port: int

    def hang(self) -> None:
        (self.folder / "hang").touch()

    def go_on(self) -> None:
        (self.folder / "hang").unlink()

    @property
    def asked(self) -> bool:
        return (self.folder / "entered").exists()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    """Two, which answer at once."""
    with ExitStack() as stack:
        found = []
        for name in ("first", "second"):
            replica = Replica(tmp_path / name, free_port())
            replica.folder.mkdir()
            (replica.folder / "go").touch()
            stack.enter_context(
                process(["-m", "tests.serving.fakes", str(replica.folder), "--port", str(replica.port)])
            )
            found.append(replica)
        for replica in found:
            until(lambda port=replica.port: health(port, "ferry.v1.Classifier") == SERVING, what="a replica")  # type: ignore[misc]
        yield found


@asynccontextmanager
async def upstream(*ports: int) -> AsyncIterator[Upstream]:
    address = ",".join(f"127.0.0.1:{port}" for port in ports)
    opened = Upstream(address, name="classifier", health_service="ferry.v1.Classifier", caller="test", silence=0.5)
    try:
        yield opened
    finally:
        await opened.close()


async def ask(where: Upstream, timeout: float = 60) -> Any:
    stub = classifier_pb2_grpc.ClassifierStub(where.channel)
    return await where.call(stub.Classify, REQUEST, timeout=timeout, patience=30)


@pytest.mark.e2e
async def test_a_replica_that_hangs_costs_no_call_where_another_one_is_left(replicas: list[Replica]) -> None:
    first, second = replicas
    async with upstream(first.port, second.port) as where:
        while not (first.asked and second.asked):
            await ask(where)
        first.hang()
        answers = await asyncio.gather(*(ask(where) for _ in range(20)))
        answers += [await ask(where) for _ in range(20)]
        assert [answer.queue_ms for answer in answers] == [1] * 40
        first.go_on()
        second.hang()
        assert [(await ask(where)).queue_ms for _ in range(20)] == [1] * 20


@pytest.mark.e2e
async def test_the_only_replica_is_waited_for_until_it_goes_on(replicas: list[Replica]) -> None:
    (only, _) = replicas
    async with upstream(only.port) as where:
        await ask(where)
        only.hang()
        waiting = [asyncio.create_task(ask(where)) for _ in range(5)]
        await asyncio.sleep(2)  # several times what it may say nothing
        only.go_on()
        assert [answer.queue_ms for answer in await asyncio.gather(*waiting)] == [1] * 5


async def test_what_is_slow_keeps_its_place_and_is_asked_twice_at_most() -> None:
    asked: list[int] = []
    go = asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        current = request_context.current.get()
        assert current is not None
        asked.append(current.losses.count)
        await go.wait()
        return classifier_pb2.ClassifyResponse(queue_ms=len(asked))

    async with running(FakeService(answer)) as (server, _), upstream(server.port) as where:
        call = asyncio.create_task(ask(where))
        async with asyncio.timeout(30):
            while len(asked) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        go.set()
        assert (await call).queue_ms == 2
        assert asked == [0, 1]


async def test_a_deadline_ends_both() -> None:
    async with running(FakeService(Endless())) as (server, _), upstream(server.port) as where:
        with pytest.raises(DeadlineError):
            await ask(where, timeout=1.5)


def test_where_calls_take_long_silence_may_last_longer() -> None:
    silence = Silence(2.0)
    silence.learn(0.1)
    assert silence.seconds == 2.0
    silence.learn(3.0)
    assert silence.seconds == 12.0
    for _ in range(200):
        silence.learn(0.1)
    assert silence.seconds == 2.0
