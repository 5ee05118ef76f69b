"""An open loop sends what is due whatever is answered, and counts from when it was due."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.load.command import table
from benchmarks.load.knee import climb, knee
from benchmarks.load.mix import Mix, Requests, picture
from benchmarks.load.run import PERCENTILES, Load, Step, send
from benchmarks.load.schedule import Arrivals, due_times
from ferry.client import UnavailableError
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.printed import printed
from tests.processes import free_port


def test_due_times() -> None:
    constant = list(due_times(Arrivals.CONSTANT, 100, 10, 1))
    poisson = list(due_times(Arrivals.POISSON, 100, 10, 1))
    gaps = [[b - a for a, b in pairwise(times)] for times in (constant, poisson)]
    assert len(constant) == 1000
    assert max(gaps[0]) == pytest.approx(0.01)
    assert len(poisson) == pytest.approx(1000, abs=150)
    # Exponential distances spread as much as their mean.
    assert statistics.stdev(gaps[1]) == pytest.approx(0.01, rel=0.15)
    assert poisson == list(due_times(Arrivals.POISSON, 100, 10, 1))


def test_what_is_sent_in_a_period_is_sent_in_the_next() -> None:
    times = list(due_times(Arrivals.POISSON, 100, 10, 1, period=4))
    first, second, rest = ([t - start for t in times if 0 <= t - start < 4] for start in (0, 4, 8))
    assert first == pytest.approx(second)
    assert rest == pytest.approx([t for t in first if t < 2])
    requests = Requests(Mix(cached=0.5, augmented=0.5), seed=1)
    periods = []
    for _ in range(2):
        requests.begin_anew()
        periods.append([next(requests) for _ in range(100)])
    augmented = [[request.options.test_time_augmentation for request in period] for period in periods]
    assert augmented[0] == augmented[1]
    both = {request.image for request in periods[0]} & {request.image for request in periods[1]}
    assert 20 < len(both) <= 32, "those that a cache may answer, and no other"


def test_a_mix_repeats_and_augments_as_often_as_it_says() -> None:
    requests = Requests(Mix(cached=0.5, augmented=0.25), seed=1)
    sent = [next(requests) for _ in range(400)]
    assert len({request.image for request in sent}) == pytest.approx(200 + 32, abs=40)
    assert sum(request.options.test_time_augmentation for request in sent) == pytest.approx(100, abs=30)
    assert picture(320, 240, 4).startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    "wrong", [{"cached": 1.5}, {"faces": ((65, 1.0),)}, {"sizes": (((8, 8), 1.0),)}, {"faces": ()}]
)
def test_a_mix_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Mix(**wrong)


def test_where_nobody_answers_nothing_is_sent(tmp_path: Path) -> None:
    asked = CliRunner().invoke(app, ["load", f"127.0.0.1:{free_port()}", "--out", str(tmp_path / "out")])
    assert isinstance(asked.exception, UnavailableError)
    assert "no gateway answers at" in str(asked.exception)
    assert not (tmp_path / "out").exists()


def step(rate: float, p99: float, failed: float = 0.0) -> Step:
    codes = {"OK": round(100 * (1 - failed)), "RESOURCE_EXHAUSTED": round(100 * failed)}
    return Step(rate, rate, rate * (1 - failed), dict.fromkeys(PERCENTILES, p99), codes, 0.0, "")


def test_the_knee_is_the_last_rate_that_is_answered_as_at_rest() -> None:
    steps = climb(lambda rate: step(rate, 20 if rate < 60 else 900), first=10)
    found = knee(steps)
    assert found is not None
    assert 55 < found.rate < 60
    assert knee([step(10, 20), step(20, 25, failed=0.2), step(30, 20)]) == step(10, 20)


def test_a_percentile_that_too_few_answers_tell_is_left_out() -> None:
    few = step(10, 20)
    assert (few.percentile(90.0), few.percentile(99.0)) == (20, 20)
    assert math.isnan(few.percentile(99.9))
    assert math.isnan(step(10, 20, failed=0.1).percentile(99.0)), "90 were answered"
    assert few.record()["percentiles"] == {50.0: 20, 90.0: 20, 99.0: 20, 99.9: None}
    many = replace(few, codes={"OK": 999, "DEGRADED": 1})
    assert many.percentile(99.9) == 20


def test_the_table_fits_80_columns_and_says_what_was_sent() -> None:
    slow = replace(step(1234.5, 10_000.0, failed=0.25), sent=1200.0, codes={"OK": 7500, "UNAVAILABLE": 2500})
    shown = printed(table([replace(slow, late_ms=12_345.0), step(10, 20)], "poisson, a machine, 16 CPUs"))
    assert "…" not in shown
    assert "1234.5 1200.0      925.9 10000.0 10000.0 10000.0 10000.0   12345  25.0%" in shown
    assert shown.splitlines()[-2].split() == ["10.0", "10.0", "10.0", "20.0", "20.0", "20.0", "-", "0"]


class Stalling(gateway_pb2_grpc.ExpressionRecognitionServicer):
    """Answers one call at a time, each after 50 ms."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def Recognize(  # noqa: N802
        self, request: gateway_pb2.RecognizeRequest, context: object
    ) -> gateway_pb2.RecognizeResponse:
        async with self._turn:
            await asyncio.sleep(0.05)
        return gateway_pb2.RecognizeResponse()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server()
    gateway_pb2_grpc.add_ExpressionRecognitionServicer_to_server(Stalling(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_what_waits_behind_a_stall_is_charged_with_its_wait(address: str) -> None:
    """A closed loop would say 50 ms: its callers wait politely while nothing is answered."""
    load = Load(address, Mix(), Arrivals.CONSTANT, seconds=1.5, processes=1, timeout=30, events=True)
    done = await asyncio.to_thread(send, load, 40)
    assert sum(done.codes.values()) == done.codes["OK"] == 60
    assert done.percentiles[50.0] > 300
    assert len(done.events) == 60
    assert done.sent == 40
    assert done.per_second <= 20, "what was still waiting at the end is no throughput"
    refused = await asyncio.to_thread(send, replace(load, timeout=0.2, seconds=1.0), 40)
    assert refused.codes["DEADLINE_EXCEEDED"] > 5
    assert refused.failed > 0.1
