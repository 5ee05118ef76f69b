"""Whose model runs next where several models share the CPUs of a process.

More runs at once than there are CPUs compute nothing sooner: they only take the caches from each other. So a run waits
for CPUs that are free, and meanwhile rows gather for it. A model whose rows are much cheaper in company lets others go
first, until enough of them are there or they have waited a fair part of what the others' have; then it comes before
them, since what it does was begun before. So under load, where all wait anyway, its runs become large, and at rest it
never waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

PATIENCE_SHARE = 0.25
"""Of the longest wait of any request here: for so long rows wait for company. A request that has stood in line for a
detector for 200 ms bears 50 more; one that has not waited bears nothing."""
_NOTHING, _GATHERING, _READY, _GATHERED = range(4)


class Runs(Protocol):
    """What makes runs of one model.

    Attributes:
        threads: CPUs of one run.
        company: rows up to which each is much cheaper in a run with others; 1: it makes no difference.
        rows: that wait.
    """

    @property
    def threads(self) -> int: ...
    @property
    def company(self) -> int: ...
    @property
    def rows(self) -> int: ...

    def waited(self) -> float:
        """Seconds that its oldest request has waited; 0: there is none."""


@dataclass(eq=False, slots=True)
class _Waiting:
    runs: Runs
    turn: asyncio.Future[None]


class Turns:
    """The CPUs of a process, given to one run after another. One event loop."""

    def __init__(self, cpus: int) -> None:
        """
        Args:
            cpus: 1 or more.
        """
        self._cpus = cpus
        self._free = cpus
        self._held: Counter[Runs] = Counter()
        self._waiting: list[_Waiting] = []

    def at_once(self, runs: Runs) -> int:
        """How many runs it could have now, those included that it has; 1 or more."""
        cost = self._cost(runs)
        return max(1, (self._free + self._held[runs] * cost) // cost)

    async def take(self, runs: Runs) -> None:
        """Waits until it is the turn of a run, which then has to be given back."""
        waiting = _Waiting(runs, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._give()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.give_back(runs)
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def give_back(self, runs: Runs) -> None:
        """A run has ended."""
        self._held[runs] -= 1
        if not self._held[runs]:
            del self._held[runs]  # a model that was replaced is not to be kept
        self._free += self._cost(runs)
        # Not before whoever ended it could ask again: it would come after all others, however they rank.
        asyncio.get_running_loop().call_soon(self._give)

    def _cost(self, runs: Runs) -> int:
        return min(runs.threads, self._cpus)

    def _give(self) -> None:
        """Nobody overtakes a run that is next and needs more CPUs than are free: it would wait for ever."""
        self._waiting = [waiting for waiting in self._waiting if not waiting.turn.done()]  # some may be cancelled
        while self._waiting:
            chosen = self._next()
            cost = self._cost(chosen.runs)
            if cost > self._free:
                return
            self._waiting.remove(chosen)
            self._free -= cost
            self._held[chosen.runs] += 1
            chosen.turn.set_result(None)

    def _next(self) -> _Waiting:
        if len(self._waiting) == 1:
            return self._waiting[0]
        waits = [waiting.runs.waited() for waiting in self._waiting]
        enough = PATIENCE_SHARE * max(waits)
        ranks = [_rank(waiting.runs, seconds, enough) for waiting, seconds in zip(self._waiting, waits, strict=True)]
        best = max(range(len(waits)), key=lambda index: (ranks[index], waits[index]))
        return self._waiting[best]


def _rank(runs: Runs, waited: float, enough: float) -> int:
    if not runs.rows:
        return _NOTHING
    if runs.company == 1:
        return _READY
    return _GATHERED if waited >= enough or runs.rows >= runs.company else _GATHERING
