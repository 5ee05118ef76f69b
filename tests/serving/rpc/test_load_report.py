"""A replica that is slow, or fails, is asked less; one that is well again gets its share."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from benchmarks.chaos.dns import Names
from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import InvalidArgumentError
from serving.rpc import load_report
from serving.rpc.context import worked
from serving.rpc.limits import Kind
from serving.rpc.load_report import LoadReport
from serving.rpc.upstream import Upstream
from serving.server import Server
from serving.settings import ServiceSettings
from tests.processes import free_port
from tests.serving.fakes import FakeService, running

Status = grpc.StatusCode
REQUEST = classifier_pb2.ClassifyRequest()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(load_report, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def load(report: LoadReport) -> float:
    """What is reported, in seconds."""
    return float(utilization(report) ** (1 / 3))


def utilization(report: LoadReport) -> float:
    """What is reported: callers share calls out in inverse proportion to it."""
    trailer = report.trailer()
    assert trailer is not None
    key, value = trailer
    assert key == load_report.KEY
    _, rate, _, reported = struct.unpack("<BdBd", value)
    assert rate == 1
    return float(reported)


def call(report: LoadReport, status: grpc.StatusCode, seconds: float) -> None:
    """One that ends at once, whatever its work is said to have taken."""
    report.begin()
    report.end(status, seconds)


def crowded(report: LoadReport, clock: list[float]) -> float:
    """What is reported a second after ten calls have begun."""
    for _ in range(10):
        report.begin()
    clock[0] += 1
    return utilization(report)


def warm() -> LoadReport:
    """Of a process whose first calls, which are slow, are over."""
    report = LoadReport()
    for _ in range(5):
        call(report, Status.OK, 60)
        assert report.trailer() is None
    return report


def replica(asked: list[int], index: int, seconds: float = 0.0) -> FakeService:
    """Counts its calls at `index` of `asked`."""

    async def answer(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
        asked[index] += 1
        await asyncio.sleep(seconds)
        return classifier_pb2.ClassifyResponse()

    service = FakeService(answer)
    service.compared = "/ferry.v1.Classifier/Classify"
    return service


def test_the_latest_calls_count_most_and_old_ones_are_forgotten(clock: list[float]) -> None:
    report = warm()
    for seconds in (0.1, *[0.5] * 60):
        clock[0] += 0.01
        call(report, Status.OK, seconds)
    assert load(report) == pytest.approx(0.5, rel=0.1)
    clock[0] += 30
    call(report, Status.OK, 0.1)
    assert load(report) == pytest.approx(0.1, rel=0.1)


def test_a_replica_that_fails_quickly_is_no_fast_one(clock: list[float]) -> None:
    report = warm()
    call(report, Status.OK, 0.1)
    call(report, Status.INVALID_ARGUMENT, 0.0)
    call(report, Status.CANCELLED, 10)
    assert load(report) == pytest.approx(0.1)
    clock[0] += 1
    call(report, Status.INTERNAL, 0.001)
    assert load(report) > 1


def test_a_replica_at_which_calls_gather_is_asked_less_until_they_are_done(clock: list[float]) -> None:
    report = warm()
    call(report, Status.OK, 0.1)
    alone = utilization(report)
    assert crowded(report, clock) > 8 * alone
    for _ in range(10):
        report.end(Status.CANCELLED, 1)
    clock[0] += 3
    assert utilization(report) == pytest.approx(alone, rel=0.01)


def test_calls_that_are_done_in_a_moment_are_no_crowd(clock: list[float]) -> None:
    report = warm()
    call(report, Status.OK, 0.001)
    alone = utilization(report)
    assert crowded(report, clock) < 1.2 * alone


async def test_no_call_stays_under_way_however_it_ends() -> None:
    arrived, ends = asyncio.Event(), iter(("answered", "refused", "failed", "late", "cancelled"))

    async def answer(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
        end = next(ends)
        if end == "refused":
            raise InvalidArgumentError("crops", "are none")
        if end == "failed":
            raise RuntimeError
        if end != "answered":
            arrived.set()
            await asyncio.Event().wait()
        return classifier_pb2.ClassifyResponse()

    service = FakeService(answer)
    service.compared = "/ferry.v1.Classifier/Classify"
    async with running(service) as (server, channel):
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        await stub.Classify(REQUEST, timeout=30)
        for timeout in (30, 30, 0.2):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Classify(REQUEST, timeout=timeout)
        arrived.clear()
        leaving = stub.Classify(REQUEST, timeout=30)
        await arrived.wait()
        load = server._interceptor._methods[service.compared, Kind.UNARY].load
        assert load is not None
        assert load._under_way >= 1
        leaving.cancel()
        async with asyncio.timeout(30):
            while load._under_way:
                await asyncio.sleep(0.01)


async def test_how_long_a_call_waited_says_nothing_of_its_replica() -> None:
    async def answer(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
        await asyncio.sleep(0.05)
        worked(0.01)
        return classifier_pb2.ClassifyResponse()

    service = FakeService(answer)
    service.compared = "/ferry.v1.Classifier/Classify"
    async with running(service) as (server, channel):
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for _ in range(6):
            await stub.Classify(REQUEST, timeout=30)
        method = server._interceptor._methods[service.compared, Kind.UNARY]
        assert method.load is not None
        assert load(method.load) == pytest.approx(0.01, rel=0.1)


async def test_a_replica_that_joins_a_name_is_found_by_those_who_are_connected() -> None:
    settings = [ServiceSettings(host=f"127.0.1.{number}", port=free_port(), grace=1) for number in (1, 2)]
    settings[1] = settings[1].model_copy(update={"port": settings[0].port})
    asked = [0, 0]
    members = [Server(replica(asked, index), each) for index, each in enumerate(settings)]
    with Names() as names:
        names.addresses = ["127.0.1.1"]
        address = f"dns://127.0.0.1:{names.port}/classifier.test:{settings[0].port}"
        upstream = Upstream(address, name="x", health_service="ferry.v1.Classifier", caller="test")
        stub = classifier_pb2_grpc.ClassifierStub(upstream.channel)
        await members[0].start()
        await upstream.call(stub.Classify, REQUEST, timeout=30, patience=30)
        await members[1].start()
        names.addresses = ["127.0.1.1", "127.0.1.2"]
        async with asyncio.timeout(30):
            while not asked[1]:
                await upstream.call(stub.Classify, REQUEST, timeout=30, patience=30)
                await asyncio.sleep(0.05)
        await upstream.close()
        for member in members:
            await member.stop()


async def test_a_slow_replica_is_asked_less() -> None:
    asked = [0, 0]
    async with running(replica(asked, 0)) as (fast, _), running(replica(asked, 1, 0.1)) as (slow, _):
        address = f"127.0.0.1:{fast.port},127.0.0.1:{slow.port}"
        upstream = Upstream(address, name="x", health_service="ferry.v1.Classifier", caller="test")
        stub = classifier_pb2_grpc.ClassifierStub(upstream.channel)

        async def some() -> bool:
            asked[:] = [0, 0]
            for _ in range(30):
                await upstream.call(stub.Classify, REQUEST, timeout=30, patience=30)
            return asked[0] >= 28

        async with asyncio.timeout(60):
            while not await some():
                pass
        await upstream.close()
