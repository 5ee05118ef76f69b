"""Faults are judged by what callers saw; the instruments that make them do what they say."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path

import grpc
import psutil
import pytest

from benchmarks.chaos import disk
from benchmarks.chaos.clock import Clock
from benchmarks.chaos.counters import alerts, of_model, rises, silent
from benchmarks.chaos.dns import Names
from benchmarks.chaos.faults import faults, patient
from benchmarks.chaos.hostile.inputs import Inputs
from benchmarks.chaos.judging import overload, unavailable
from benchmarks.chaos.outcome import Outcome, back_within, errors_end_within, none_failed, p99_at_most
from benchmarks.chaos.proxy import Mode, Proxy
from benchmarks.chaos.run import Verdict, run
from benchmarks.chaos.signals import slow
from tests.processes import free_port

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
    assert errors_end_within(outcome(4.5), 1, 4.0, "its beginning").holds
    assert not errors_end_within(outcome(4.5, 6.0), 1, 4.0, "its beginning").holds
    assert errors_end_within(outcome(4.5, 6.0), 1, 5.0, "its end").holds
    assert "was due 1.0 s after; 2 failed" in errors_end_within(outcome(4.5, 6.0), 1, 5.0, "its end").seen
    assert "was due before; 1 failed" in errors_end_within(outcome(4.5), 1, 5.0, "its end").seen
    assert back_within(outcome(slow_from=4, slow_to=5.9), 2, 4.0).holds
    assert not back_within(outcome(slow_from=4, slow_to=8), 2, 4.0).holds
    assert p99_at_most(outcome(), extra_ms=10).holds
    assert not p99_at_most(outcome(slow_from=4, slow_to=5), 2.0).holds
    slow_before = outcome(slow_from=1, slow_to=2)
    assert p99_at_most(replace(slow_before, period=1.0), 2.0).seen.startswith("20 ms before"), "in the period before it"
    assert p99_at_most(slow_before, 2.0).seen.startswith("500 ms before")


def test_of_rejections_those_count_that_come_soon() -> None:
    def refused(slow: int) -> Outcome:
        took = [0.2] * slow + [0.01] * (100 - slow)
        return Outcome(tuple((5.0, one, "RESOURCE_EXHAUSTED") for one in took), 4.0, 8.0, 50.0, 10.0, {})

    soon, late = (overload(refused(slow))[1] for slow in (5, 6))
    assert soon.holds
    assert not late.holds
    assert "94 of 100, median 10 ms" in late.seen


def test_a_process_that_says_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.chaos.counters.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        host, port = deaf.getsockname()
        assert silent({"detector-1": f"{host}:{port}", "nobody": f"{host}:{free_port()}"}) == ["detector-1", "nobody"]


def test_a_counter_of_a_process_that_started_again_counts_from_zero() -> None:
    before, after = {"a": {"x": 5.0}, "b": {"x": 7.0}}, {"a": {"x": 6.0}, "b": {"x": 2.0}}
    assert rises(before, after) == {"x": 3.0}


def test_of_all_metrics_only_a_models_versions_are_read() -> None:
    text = "\n".join(
        (
            "# TYPE ferry_model_info gauge",
            'ferry_model_info{model="arcface",version="1"} 1.0',
            'ferry_model_info{model="arcface",version="2"} 0.0',
            'ferry_model_info{model="detector",version="3"} 1.0',
            "no metric at all",
        )
    )
    assert of_model(text, "arcface") == {"1"}
    assert of_model("", "arcface") == set()


def test_where_the_detector_is_gone_only_that_it_is_away_is_a_clear_error() -> None:
    gone = Outcome(tuple((i / 10, 0.9, "UNAVAILABLE" if 40 <= i < 80 else "OK") for i in range(100)), 4, 8, 10, 20, {})
    assert all(finding.holds for finding in unavailable(gone))
    late = tuple((due, 1.0, "DEADLINE_EXCEEDED" if code == "UNAVAILABLE" else code) for due, _, code in gone.events)
    assert not unavailable(replace(gone, events=late))[0].holds


def test_alerts_that_look_at_what_moved_are_named() -> None:
    assert "FerryDegradedAnswers" in alerts({'ferry_degraded_total{model="arcface"}': 3.0})
    assert "FerrySuspectRequests" in alerts({"ferry_suspect_requests_total": 1.0})
    assert alerts({"calls of gateway OK": 100.0, "calls of gateway INVALID_ARGUMENT": 1.0}) == []
    assert "FerryAvailabilityBudgetBurn" in alerts({"calls of gateway UNAVAILABLE": 1.0})


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


async def test_a_name_leads_to_the_addresses_of_the_moment() -> None:
    async def answer(request: bytes, context: object) -> bytes:
        return request

    server = grpc.aio.server()
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.1.1:0")
    await server.start()
    with Names() as names:
        names.addresses = ["127.0.1.1"]
        async with grpc.aio.insecure_channel(f"dns://127.0.0.1:{names.port}/some.service:{port}") as channel:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Test/Ask")
            assert await ask(b"x", timeout=30) == b"x"
    await server.stop(None)


def test_a_full_disk_takes_nothing_more_until_it_is_not_full(tmp_path: Path) -> None:
    with disk.small(tmp_path / "small") as small:
        if small is None:
            pytest.skip("to mount a disk takes root")
        with disk.full(small), pytest.raises(OSError, match="No space"):
            (small / "log").write_bytes(bytes(10))
        (small / "log").write_bytes(bytes(10))
    assert not list((tmp_path / "small").iterdir())


def test_a_clock_is_set_while_a_process_runs(tmp_path: Path) -> None:
    try:
        clock = Clock(tmp_path / "clock")
    except FileNotFoundError:
        pytest.skip("libfaketime is not installed")
    program = "import time\nfor _ in iter(input, ''): print(time.time(), time.monotonic(), flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ahead() -> float:
        """By how much the process's time of day is before ours; other time passes there as it does here."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("?\n")
        process.stdin.flush()
        day, passed = map(float, process.stdout.readline().split())
        assert passed == pytest.approx(time.monotonic(), abs=30)
        return day - time.time()

    try:
        assert ahead() == pytest.approx(0, abs=30)
        clock.jump(3600)
        assert ahead() == pytest.approx(3600, abs=30)
    finally:
        process.kill()
        process.communicate()


def test_hostile_inputs_are_the_same_again() -> None:
    def some() -> list[object]:
        drawn = Inputs(7)
        return [(drawn.message(), drawn.picture(), drawn.metadata(), drawn.frames()) for _ in range(50)]

    assert some() == some()


def test_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in faults()]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_callers_notice_nothing_of_some_faults() -> None:
    # Patient callers and little load: a machine that is busy with other tests is no fault of the cluster.
    names = {"kill -9 gateway", "kill -9 detector", "redis full", "redis answers garbage", "hostile inputs"}
    wanted = [
        replace(patient(fault, 30.0), before=1.0, after=2.0, seconds=1.0)
        for fault in faults(500)
        if fault.name in names
    ]
    verdicts = run(MODELS, wanted, lambda text: None, replicas=2, capacity=5.0)
    assert {verdict.fault for verdict in verdicts} == names
    for verdict in verdicts:
        assert verdict.outcome.events
        assert Verdict.from_json(json.loads(json.dumps(asdict(verdict)))) == verdict
        for finding in verdict.findings:
            assert finding.holds or "p99" in finding.claim or "memory" in finding.claim, (verdict.fault, finding)


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
