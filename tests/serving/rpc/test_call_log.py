"""Lines in the log for calls: failed ones, a share of the others, and never a flood."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import grpc
import pytest

from serving.errors import InvalidArgumentError
from serving.rpc import context
from serving.rpc.call_log import MOST_FAILURES, CallLog
from serving.telemetry import logs
from tests.serving.fakes import FakeService, running
from tests.serving.rpc.test_interceptor import classify


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.configure("classifier", "info", context.request_id)
    yield out
    logging.getLogger().handlers[:], level = before
    logging.getLogger().setLevel(level)


async def test_a_failed_call_can_be_found_by_its_request_id(lines: io.StringIO) -> None:
    async def answer(request: object, context: object) -> None:
        raise InvalidArgumentError("crops", "of somebody's secret face")

    async with running(FakeService(answer)) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError):
            await classify(channel, metadata=(("x-request-id", "my-request-1"),))
    written = [json.loads(line) for line in lines.getvalue().splitlines() if "my-request-1" in line]
    # Beside it there may be how many failures of earlier calls are not in the log.
    (line,) = [line for line in written if line["message"] == "call failed"]
    assert (line["status"], line["field"]) == ("INVALID_ARGUMENT", "crops")
    assert line["method"] == "/ferry.v1.Classifier/Classify"
    assert line["milliseconds"] >= 0
    assert "." in line["time"], "milliseconds"
    assert "secret" not in lines.getvalue()


def test_a_flood_of_failures_is_counted_and_not_written(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = CallLog(lambda: now[0])
    with caplog.at_level(logging.INFO):
        for _ in range(MOST_FAILURES + 7):
            log.ended("/a/B", grpc.StatusCode.UNAVAILABLE, 0.1)
        assert len(caplog.records) == MOST_FAILURES
        now[0] = 1.0
        log.ended("/a/B", grpc.StatusCode.UNAVAILABLE, 0.1)
    assert "7 more failed calls" in caplog.text


def test_calls_that_succeed_are_in_the_log_on_request(caplog: pytest.LogCaptureFixture) -> None:
    log = CallLog()
    with caplog.at_level(logging.INFO):
        log.ended("/a/B", grpc.StatusCode.OK, 0.1)
        assert not caplog.records
        log.share = 1.0
        log.ended("/a/B", grpc.StatusCode.OK, 0.0123)
    assert caplog.records[0].milliseconds == 12.3


@pytest.mark.parametrize("package", ["gateway", "services", "single", "cli"])
def test_what_grpc_says_of_its_own_is_off(package: str) -> None:
    program = f"import {package}, grpc, os; print(os.environ['GRPC_VERBOSITY'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == "NONE"
