"""Whose model runs next where several models share the CPUs of a process.

More runs at once than there are CPUs compute nothing sooner: they only take the caches from each other. So a run waits
for CPUs that are free, and meanwhile rows gather for it. Whose oldest request has waited longest goes first, but for a
model whose rows are much cheaper in company: when enough of them are there for a full run it comes before all, since
what it does was begun before. So under load, where a detector's requests wait, a classifier's runs become full, and at
rest it never waits.

The threads that run choose for themselves: whoever ends a run takes the next at once. Had they to ask the event loop, a
CPU would stand still until it came to them. What comes after a run waits until the next one computes, where it can.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from serving.errors import OverloadedError
from serving.models.backends import deferred

log = logging.getLogger(__name__)

_BEGIN_SECONDS = 1.0
"""That a thread which was started may take until it begins."""

After = Callable[[], None] | None
"""What comes after a run and needs no turn: milliseconds of Python; None: nothing."""


class Runs(Protocol):
    """What makes runs of one model. All is called with the lock of the turns held, `take`'s answer without.

    Attributes:
        threads: CPUs of one run.
        company: rows up to which each is much cheaper in a run with others; 1: it makes no difference.
        overlaps: whether a run does meanwhile what its thread has put off (serving.models.backends.deferred).
        rows: that wait.
    """

    @property
    def threads(self) -> int: ...
    @property
    def company(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def overlaps(self) -> bool: ...

    def due(self) -> float | None:
        """From when on a run may be made, time.monotonic() seconds; None: there is nothing to run as things are."""

    def waited(self) -> float:
        """Seconds that its oldest request has waited; 0: there is none."""

    def take(self) -> Callable[[], After] | None:
        """The next run, to be made on the thread that asks, which does afterwards what that returns; None: there was
        nothing to run after all."""


class Turns:
    """The CPUs of a process, given to one run after another, and the threads that make the runs.

    Attributes:
        lock: held by whoever looks at or changes what waits.
    """

    def __init__(self, cpus: int) -> None:
        """
        Args:
            cpus: 1 or more.
        """
        self.lock = threading.Lock()
        self._waiting = threading.Condition(self.lock)
        self._cpus = cpus
        self._free = cpus
        self._held: Counter[Runs] = Counter()
        self._runs: list[Runs] = []
        self._threads = 0
        """That have begun."""
        self._most = 0
        """Threads: one for each run that can be made at once."""
        self._coming = 0
        """Threads that were started and have not begun yet."""
        self._expected_until = 0.0
        self._idle = 0

    def add(self, runs: Runs) -> None:
        """From now on it has turns. Its threads are started now, while there is memory: see serving.thread_pool."""
        with self.lock:
            self._most = max(self._most, self._cpus // self._cost(runs))
            for _ in range(self._missing()):
                if not self._start_thread():
                    break
            self._runs.append(runs)

    def remove(self, runs: Runs) -> None:
        """It has no turns any more; the threads end with the last."""
        with self.lock:
            if runs in self._runs:
                self._runs.remove(runs)
            self._waiting.notify_all()

    def at_once(self, runs: Runs) -> int:
        """How many runs it could have now, those included that it has; 1 or more. The lock is held."""
        cost = self._cost(runs)
        return max(1, (self._free + self._held[runs] * cost) // cost)

    def wake(self) -> None:
        """Something waits that did not before. The lock is held.

        Raises:
            OverloadedError: there is no thread and none has just been started, and the system has none to give.
        """
        if self._idle:
            self._waiting.notify()
        elif self._missing() > 0 and not self._start_thread() and not self._threads and not self._coming:
            raise OverloadedError("no thread can be started; try again shortly", retry_after=1.0)

    def _missing(self) -> int:
        """How many threads are to be started; 0 or less: none."""
        # Those that are coming count, or each request would start one more until the first begins. But one may have
        # died before it began, so they count for a moment only: no more than `_most` are started in each such moment.
        if time.monotonic() >= self._expected_until:
            self._coming = 0
        return self._most - self._threads - self._coming

    def _start_thread(self) -> bool:
        """Starts one more and does not wait until it begins, if ever it does; whether that was possible."""
        # `threading.Thread` would wait for that; where no memory is left, for ever (serving.thread_pool). Nobody waits
        # for such a thread to end either: a run that never ends does not keep the process from ending.
        try:
            _thread.start_new_thread(self._work, ())
        except (RuntimeError, MemoryError) as error:
            log.warning("a thread cannot be started, and those there are (%d) run all: %s", self._threads, error)
            return False
        self._coming += 1
        self._expected_until = time.monotonic() + _BEGIN_SECONDS
        return True

    def _work(self) -> None:
        with contextlib.suppress(MemoryError):
            threading.current_thread().name = "run"
        with self.lock:
            self._coming = max(0, self._coming - 1)
            if self._threads >= self._most:  # it came late, and another was started for it
                return
            self._threads += 1
        try:
            while self._make_run():
                pass
        except BaseException as error:  # no memory: another is to be started for it
            with self.lock:
                self._threads -= 1
            log.exception("a thread that made runs has ended: %s", error)

    def _make_run(self) -> bool:
        """Waits for a run and makes it; whether there may be more. No model is held while it waits: it may be replaced.

        What comes after the run before is done while this one computes, when it has been prepared, or now, where there
        is none that lets it.
        """
        with self.lock:
            behind = deferred.waits()
            runs = self._next_to_overlap() if behind else self._next()
            if runs is not None:
                cost = self._cost(runs)
                run = runs.take()  # where no memory is left for it, nothing is held yet
                self._held[runs] += 1
                self._free -= cost
                with contextlib.suppress(MemoryError):  # whoever ends next looks again; this run is to be made
                    if self._free and self._look()[0] is not None:
                        self.wake()
            elif not behind:
                self._threads -= 1
                return False
            elif self._idle and self._look()[0] is not None:
                self.wake()
        if runs is None:
            deferred.catch_up()
            return True
        after: After = None
        try:
            if run is not None:
                after = run()
        except Exception as error:  # a thread that ended here would be missed for ever
            log.exception("a run was dropped: %s", error)
        finally:
            with self.lock:
                self._free += cost
                self._held[runs] -= 1
                if not self._held[runs]:
                    del self._held[runs]
        deferred.catch_up()
        deferred.put_off(after)
        return True

    def _next(self) -> Runs | None:
        """Waits for whose turn it is; None: there is no model any more."""
        while self._runs:
            runs, seconds = self._look()
            if runs is not None:
                return runs
            self._idle += 1
            try:
                self._waiting.wait(seconds)
            finally:
                self._idle -= 1
        return None

    def _next_to_overlap(self) -> Runs | None:
        """Whose turn it is now, where a run of theirs leaves this thread time."""
        runs, _ = self._look()
        return runs if runs is not None and runs.overlaps else None

    def _look(self) -> tuple[Runs | None, float | None]:
        """Whose turn it is, or for how many seconds it is nobody's; None: until something changes.

        Nobody overtakes a run that is next and needs more CPUs than are free: it would wait for ever.
        """
        now = time.monotonic()
        dues = [(runs, due) for runs in self._runs if (due := runs.due()) is not None]
        ready = [runs for runs, due in dues if due <= now]
        if ready:
            chosen = _first(ready)
            return (chosen, None) if self._cost(chosen) <= self._free else (None, None)
        return None, min((due - now for _, due in dues), default=None)

    def _cost(self, runs: Runs) -> int:
        return min(runs.threads, self._cpus)


def _first(ready: list[Runs]) -> Runs:
    """A full run, else that of the oldest request."""
    return max(ready, key=lambda runs: (1 < runs.company <= runs.rows, runs.waited()))
