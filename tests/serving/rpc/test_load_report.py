"""A replica that is slow, or fails, is asked less; one that is well again gets its share."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.rpc import load_report
from serving.rpc.context import worked
from serving.rpc.limits import Kind
from serving.rpc.load_report import LoadReport
from serving.rpc.upstream import Upstream
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
    key, value = report.trailer()
    assert key == load_report.KEY
    _, rate, _, utilization = struct.unpack("<BdBd", value)
    assert rate == 1
    return float(utilization ** (1 / 3))


def test_the_latest_calls_count_most_and_old_ones_are_forgotten(clock: list[float]) -> None:
    report = LoadReport()
    for seconds in (0.1, *[0.5] * 60):
        clock[0] += 0.01
        report.learn(Status.OK, seconds)
    assert load(report) == pytest.approx(0.5, rel=0.1)
    clock[0] += 30
    report.learn(Status.OK, 0.1)
    assert load(report) == pytest.approx(0.1, rel=0.1)


def test_a_replica_that_fails_quickly_is_no_fast_one(clock: list[float]) -> None:
    report = LoadReport()
    report.learn(Status.OK, 0.1)
    report.learn(Status.INVALID_ARGUMENT, 0.0)
    report.learn(Status.CANCELLED, 10)
    assert load(report) == pytest.approx(0.1)
    clock[0] += 1
    report.learn(Status.INTERNAL, 0.001)
    assert load(report) > 1


async def test_how_long_a_call_waited_says_nothing_of_its_replica() -> None:
    async def answer(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
        await asyncio.sleep(0.2)
        worked(0.01)
        return classifier_pb2.ClassifyResponse()

    service = FakeService(answer)
    service.compared = "/ferry.v1.Classifier/Classify"
    async with running(service) as (server, channel):
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        await stub.Classify(REQUEST, timeout=30)
        method = server._interceptor._methods[service.compared, Kind.UNARY]
        assert method.load is not None
        assert load(method.load) == pytest.approx(0.01)


async def test_a_slow_replica_is_asked_less() -> None:
    asked = [0, 0]

    def replica(index: int, seconds: float) -> FakeService:
        async def answer(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
            asked[index] += 1
            await asyncio.sleep(seconds)
            return classifier_pb2.ClassifyResponse()

        service = FakeService(answer)
        service.compared = "/ferry.v1.Classifier/Classify"
        return service

    async with running(replica(0, 0.0)) as (fast, _), running(replica(1, 0.1)) as (slow, _):
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
