"""Faults are judged by what callers saw; the instruments that make them do what they say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.chaos.counters import alerts, rises
from benchmarks.chaos.outcome import Outcome, back_within, errors_end_within, none_failed, p99_at_most
from benchmarks.chaos.proxy import Mode, Proxy
from benchmarks.chaos.signals import slow

MODELS = Path(__file__).parent.parent.parent.parent / "models"


def outcome(*failed: float, slow_from: float = 99, slow_to: float = 99) -> Outcome:
    """Ten seconds of ten requests each, a fault from 4 to 5; those due at `failed` fail."""
    dues = [i / 10 for i in range(100)]
    events = tuple(
        (due, 0.5 if slow_from <= due < slow_to else 0.02, "UNAVAILABLE" if due in failed else "OK") for due in dues
    )
    return Outcome(events, 4.0, 5.0, 10.0, 20.0, {})


def test_findings() -> None:
    assert none_failed(outcome()).holds
    assert "1 of 100: 1 UNAVAILABLE" in none_failed(outcome(4.5)).seen
    assert errors_end_within(outcome(4.5), 1).holds
    assert not errors_end_within(outcome(4.5, 6.0), 1).holds
    assert back_within(outcome(slow_from=4, slow_to=5.9), 2, 4.0).holds
    assert not back_within(outcome(slow_from=4, slow_to=8), 2, 4.0).holds
    assert p99_at_most(outcome(), extra_ms=10).holds
    assert not p99_at_most(outcome(slow_from=4, slow_to=5), 2.0).holds


def test_a_counter_of_a_process_that_started_again_counts_from_zero() -> None:
    before, after = {"a": {"x": 5.0}, "b": {"x": 7.0}}, {"a": {"x": 6.0}, "b": {"x": 2.0}}
    assert rises(before, after) == {"x": 3.0}


def test_alerts_that_look_at_what_moved_are_named() -> None:
    assert "FerryDegradedAnswers" in alerts({'ferry_degraded_total{model="arcface"}': 3.0})
    assert "FerrySuspectRequests" in alerts({"ferry_suspect_requests_total": 1.0})
    assert alerts({"calls of gateway OK": 100.0}) == []


async def test_a_proxy_passes_delays_cuts_hangs_and_talks_nonsense() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    with Proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy:

        async def ask(seconds: float = 5) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            try:
                writer.write(b"hello")
                return await asyncio.wait_for(reader.read(100), seconds)
            finally:
                writer.close()

        assert await ask() == b"hello"
        proxy.delay = 0.1
        started = time.monotonic()
        assert await ask() == b"hello"
        assert time.monotonic() - started >= 0.2
        proxy.delay = 0.0
        proxy.mode = Mode.GARBAGE
        assert (await ask()).startswith(b"???")
        proxy.mode = Mode.HANG
        with pytest.raises(TimeoutError):
            await ask(0.2)
        proxy.mode = Mode.CUT
        assert await _ended(ask)
    server.close()


async def _ended(ask: Callable[[], Awaitable[bytes]]) -> bool:
    try:
        return not await ask()
    except ConnectionError:
        return True


def test_a_slowed_process_has_a_fifth_of_its_time() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = psutil.Process(process.pid).cpu_times().user
        with slow(process.pid, 5):
            time.sleep(1.0)
        assert psutil.Process(process.pid).cpu_times().user - before < 0.5
    finally:
        process.kill()
        process.wait()
