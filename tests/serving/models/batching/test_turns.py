"""Turns: whose run is next. Every run waits at a gate that the test opens."""

from __future__ import annotations

import _thread
import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import Mock

import pytest

from serving.models.backends import deferred
from serving.models.batching import turns
from serving.models.batching.turns import After, Turns
from tests.serving.scarce import no_memory

SECONDS = 30
"""Longest wait for anything here."""


@dataclass(eq=False)
class Model:
    """Stands for a batcher: `runs` of them wait, and a run ends when the test lets it."""

    name: str
    order: queue.SimpleQueue[str]
    threads: int = 1
    company: int = 1
    rows: int = 1
    seconds: float = 0.01
    runs: int = 1
    after: float = 0.0
    again: Callable[[], None] = lambda: None
    overlaps: bool = False
    finish: After = None
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def due(self) -> float | None:
        return self.after if self.runs else None

    def waited(self) -> float:
        return self.seconds

    def take(self) -> Callable[[], After] | None:
        self.runs -= 1
        self.order.put(self.name)
        return self._run

    def _run(self) -> After:
        if self.overlaps:
            deferred.catch_up()
        assert self.gate.acquire(timeout=SECONDS)
        self.again()
        return self.finish


class Order:
    """Who had a turn, in the order in which it came."""

    def __init__(self, cpus: int) -> None:
        self.turns = Turns(cpus)
        self.names: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.models: list[Model] = []

    def model(self, name: str, **values: object) -> Model:
        model = Model(name, self.names, **values)  # type: ignore[arg-type]
        self.models.append(model)
        self.turns.add(model)
        with self.turns.lock:
            self.turns.wake()
        return model

    def next(self) -> str:
        return self.names.get(timeout=SECONDS)

    def nobody(self) -> bool:
        """Whether nobody has a turn who should not: a thread that could take one had the lock since."""
        for _ in range(20):
            with self.turns.lock:
                self.turns.wake()
            time.sleep(0.001)
        return self.names.empty()


@contextmanager
def order(cpus: int) -> Iterator[Order]:
    made = Order(cpus)
    try:
        yield made
    finally:
        for model in made.models:
            model.gate.release(100)
            made.turns.remove(model)


def test_no_more_runs_at_once_than_cpus() -> None:
    with order(2) as given:
        models = [given.model(name, seconds=seconds) for name, seconds in (("a", 3.0), ("b", 2.0), ("c", 1.0))]
        assert {given.next(), given.next()} == {"a", "b"}
        assert given.nobody()
        models[0].gate.release()
        assert given.next() == "c"


def test_whoever_ends_a_run_has_the_next_before_others_if_that_ranks_first() -> None:
    with order(1) as given:
        first = given.model("first", seconds=1.0, runs=2)
        assert given.next() == "first"
        given.model("gathering", company=8)
        first.gate.release()
        assert given.next() == "first"
        first.gate.release()
        assert given.next() == "gathering"


def test_who_has_waited_longest_is_next() -> None:
    with order(1) as given:
        busy = given.model("busy")
        assert given.next() == "busy"
        given.model("short", seconds=0.1)
        given.model("long", seconds=0.2)
        busy.gate.release()
        assert given.next() == "long"


def test_rows_that_want_company_let_others_go_first_until_enough_are_there() -> None:
    with order(1) as given:
        busy = given.model("busy")
        assert given.next() == "busy"
        few = given.model("few", company=8, rows=7, seconds=0.01)
        detector = given.model("detector", seconds=0.5)
        many = given.model("many", company=8, rows=8, seconds=0.01)
        for ends, name in ((busy, "many"), (many, "detector"), (detector, "few")):
            ends.gate.release()
            assert given.next() == name
        few.gate.release()


def test_rows_that_have_waited_longest_want_no_more_company() -> None:
    with order(1) as given:
        busy = given.model("busy")
        assert given.next() == "busy"
        given.model("detector", seconds=0.4)
        given.model("classifier", company=8, seconds=0.5)
        busy.gate.release()
        assert given.next() == "classifier"


def test_rows_that_want_company_do_not_wait_for_it_on_free_cpus() -> None:
    with order(2) as given:
        given.model("classifier", company=8)
        assert given.next() == "classifier"


def test_a_run_of_many_threads_is_not_overtaken_for_ever() -> None:
    with order(2) as given:
        first = given.model("first")
        assert given.next() == "first"
        wide = given.model("wide", threads=16, seconds=0.2)
        given.model("narrow", seconds=0.1)
        assert given.nobody()
        first.gate.release()
        assert given.next() == "wide"
        assert given.nobody()
        wide.gate.release()
        assert given.next() == "narrow"


def test_a_run_that_may_wait_for_company_is_made_when_its_time_comes() -> None:
    with order(1) as given:
        given.model("patient", after=time.monotonic() + 0.05)
        assert given.next() == "patient"
        assert time.monotonic() >= given.models[0].after


def test_a_run_that_raises_costs_nobody_a_turn() -> None:
    def fail() -> None:
        raise RuntimeError("not the run's own error")

    with order(1) as given:
        broken = given.model("broken", again=fail)
        assert given.next() == "broken"
        given.model("other")
        broken.gate.release()
        assert given.next() == "other"


def test_what_comes_after_a_run_is_done_while_the_next_one_computes() -> None:
    done = threading.Event()
    with order(1) as given:
        first = given.model("first", finish=done.set, seconds=1.0)
        assert given.next() == "first"
        given.model("next", overlaps=True)
        first.gate.release()
        assert given.next() == "next"
        assert done.wait(SECONDS), "the next run has not ended"


def test_what_comes_after_a_run_is_done_before_one_that_computes_on_the_same_thread() -> None:
    with order(1) as given:
        first = given.model("first", finish=lambda: given.names.put("finished"), seconds=1.0)
        assert given.next() == "first"
        other = given.model("next")
        first.gate.release()
        assert [given.next(), given.next()] == ["finished", "next"]
        assert given.nobody()
        other.gate.release()


def test_what_comes_after_a_run_waits_for_no_run_that_cannot_be_made_yet() -> None:
    done = threading.Event()
    with order(2) as given:
        short, long = given.model("short", finish=done.set), given.model("long")
        assert {given.next(), given.next()} == {"short", "long"}
        given.model("wide", threads=2, overlaps=True)
        short.gate.release()
        assert done.wait(SECONDS)
        assert given.nobody()
        long.gate.release()
        assert given.next() == "wide"


@pytest.mark.parametrize("overlaps", [False, True])
def test_an_error_after_a_run_costs_nobody_a_turn(overlaps: bool) -> None:
    def fail() -> None:
        raise RuntimeError("not the run's own error")

    with order(1) as given:
        broken = given.model("broken", finish=fail, seconds=1.0)
        assert given.next() == "broken"
        others = [given.model(name, overlaps=overlaps) for name in ("one", "two")]
        broken.gate.release()
        for other in others:
            given.next()
            other.gate.release()
        assert given.nobody()


def test_threads_are_there_before_memory_is_short() -> None:
    with order(2) as given:
        model = given.model("model", runs=0)
        with no_memory():
            with given.turns.lock:
                model.runs = 2
                given.turns.wake()
            assert [given.next(), given.next()] == ["model", "model"]


def test_no_thread_is_started_for_runs_that_cannot_be_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = _thread.start_new_thread, list[Callable[[], None]]()

    def note(work: Callable[[], None], arguments: tuple[()]) -> int:
        started.append(work)
        return start(work, arguments)

    monkeypatch.setattr(_thread, "start_new_thread", note)
    with order(2) as given:
        wide = given.model("wide", threads=2, runs=2)
        assert given.next() == "wide"
        with given.turns.lock:
            given.turns.wake()
        wide.gate.release()
        assert given.next() == "wide"
    assert len(started) == 1


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Threads that were started; each begins when the test calls it."""
    works = list[Callable[[], None]]()

    def keep(work: Callable[[], None], _: tuple[()]) -> int:
        works.append(work)
        return 0

    monkeypatch.setattr(_thread, "start_new_thread", keep)
    return works


def test_no_more_threads_are_started_while_those_there_have_to_begin_yet(late: list[Callable[[], None]]) -> None:
    with order(2) as given:
        given.model("model", runs=4)
        assert given.nobody()
        assert len(late) == 2


def test_one_that_has_not_begun_in_time_is_replaced_and_ends_where_it_begins_after_all(
    late: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_BEGIN_SECONDS", 0.0)
    with order(1) as given:
        model = given.model("model")
        monkeypatch.setattr(turns, "_BEGIN_SECONDS", SECONDS)
        assert given.nobody()
        first, second, *others = (threading.Thread(target=work, daemon=True) for work in late)
        second.start()
        assert given.next() == "model"
        first.start()
        first.join(SECONDS)
        assert not first.is_alive()
        assert len(others) == 1, "the one that is expected"
        model.gate.release()
    second.join(SECONDS)
    assert not given.turns._threads


def test_a_thread_that_memory_runs_out_in_is_replaced(
    late: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with order(1) as given:
        model = given.model("model")
        begin = late.pop()
        with monkeypatch.context() as memory:
            memory.setattr(model, "due", Mock(side_effect=MemoryError))
            begin()
        with given.turns.lock:
            given.turns.wake()
        model.gate.release()
        threading.Thread(target=late.pop(), daemon=True).start()
        assert given.next() == "model"


def test_what_comes_during_a_run_wakes_a_free_cpu() -> None:
    with order(4) as given:
        for name in "abcd":
            given.model(name)
            assert given.next() == name


def test_a_model_that_was_removed_is_not_kept_and_threads_end_with_the_last() -> None:
    with order(2) as given:
        model = given.model("replaced")
        stays = given.model("stays")
        assert {given.next(), given.next()} == {"replaced", "stays"}
        model.gate.release()
        given.turns.remove(model)
        given.models.remove(model)
        alive = weakref.ref(model)
        del model
        gone = time.monotonic() + SECONDS
        while alive() is not None and time.monotonic() < gone:
            gc.collect()
            time.sleep(0.001)
        assert alive() is None
        stays.gate.release()
    while given.turns._threads and time.monotonic() < gone:
        time.sleep(0.001)
    assert not given.turns._threads


def test_a_model_splits_over_the_cpus_that_are_not_taken_by_others() -> None:
    with order(4) as given:
        mine = given.model("mine", runs=0)
        assert given.turns.at_once(mine) == 4
        given.model("other", runs=3)
        assert [given.next() for _ in range(3)] == ["other"] * 3
        assert given.turns.at_once(mine) == 1
