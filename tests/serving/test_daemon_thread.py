"""Work on threads that may not begin, and that nobody waits for."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import logging
import threading
import time
from typing import Any

import pytest

from serving.daemon_thread import any_left, in_daemon_thread
from tests.processes import until
from tests.serving.scarce import SECONDS, no_memory, spare_threads


async def test_an_answer_or_an_error_comes_back_and_nothing_is_left() -> None:
    assert await in_daemon_thread(int, "7", name="work") == 7
    with pytest.raises(ValueError, match="seven"):
        await in_daemon_thread(int, "seven", name="work")
    until(lambda: not any_left())


async def test_work_sees_what_its_caller_does() -> None:
    request = contextvars.ContextVar("request", default="")
    request.set("this one")
    assert await in_daemon_thread(request.get, name="work") == "this one"


async def test_work_may_take_longer_than_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.daemon_thread._START_SECONDS", 0.01)
    assert await in_daemon_thread(time.sleep, 0.1, name="work") is None


async def test_who_needs_a_thread_that_never_begins_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.daemon_thread._START_SECONDS", 0.05)
    with no_memory(), pytest.raises(RuntimeError, match="did not begin"):
        await in_daemon_thread(int, "7", name="work")
    assert not any_left()


async def test_one_that_never_begins_keeps_no_other_from_it() -> None:
    start, start_nameless = threading.Thread.start, _thread.start_new_thread
    with no_memory(), pytest.MonkeyPatch.context() as memory:
        stuck = asyncio.create_task(in_daemon_thread(int, "7", name="work"))
        await asyncio.sleep(0.01)
        memory.setattr(threading.Thread, "start", start)
        memory.setattr(_thread, "start_new_thread", start_nameless)
        began = time.monotonic()
        assert await in_daemon_thread(int, "8", name="work") == 8
        assert time.monotonic() - began < SECONDS / 2
        assert any_left()  # it may begin yet
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        until(lambda: not any_left())


async def test_a_thread_that_never_begins_holds_up_no_event_loop() -> None:
    began = time.monotonic()
    with no_memory():
        stuck = asyncio.create_task(in_daemon_thread(int, "7", name="work"))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not stuck.done()
        assert time.monotonic() - began < SECONDS
    stuck.cancel()


async def test_where_no_thread_can_be_had_nothing_is_left() -> None:
    with spare_threads(), pytest.raises(RuntimeError, match="can't start"):
        await in_daemon_thread(int, "7", name="work")
    assert not any_left()


async def test_one_that_begins_when_nobody_waits_any_more_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    late, done = list[Any](), list[int]()
    with monkeypatch.context() as patch:
        patch.setattr("serving.daemon_thread._START_SECONDS", 0.01)
        patch.setattr("_thread.start_new_thread", lambda function, arguments: late.append((function, arguments)))
        with pytest.raises(RuntimeError, match="did not begin"):
            await in_daemon_thread(done.append, 1, name="work")
    ((function, arguments),) = late
    function(*arguments)
    assert not done


async def test_work_that_nobody_waits_for_any_more_is_left_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), list[bool]()

    def work() -> None:
        begun.set()
        go_on.wait(SECONDS)
        logging.getLogger("left").warning("asks who it is")
        ended.append(True)
        raise ValueError("nobody hears of it")

    left = asyncio.create_task(in_daemon_thread(work, name="work"))
    assert await asyncio.to_thread(begun.wait, SECONDS)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert any_left()
    go_on.set()
    until(lambda: not any_left())
    assert ended
    await asyncio.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == ["asks who it is"]
