"""The knee: the highest rate at which answers still come as they should."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.load.run import Step

GROWTH = 1.3
SLOWER = 5.0
"""p99 above this many times that of the first step is past the knee."""
KEPT = 0.97
"""So is answering less than this share of what is sent."""
MAX_STEPS = 24


def climb(send: Callable[[float], Step], first: float, say: Callable[[Step], None] = lambda step: None) -> list[Step]:
    """Steps of growing rate until one is past the knee, then three between the last two, by halving.

    Args:
        send: runs a step.
        first: rate of the first step, a second; low enough to be answered at rest.
        say: is told each step.
    """
    steps: list[Step] = []

    def step(rate: float) -> bool:
        steps.append(send(rate))
        say(steps[-1])
        return holds(steps[-1], steps[0])

    low, high = first, first
    while step(high) and len(steps) < MAX_STEPS:
        low, high = high, high * GROWTH
    for _ in range(3):
        middle = (low + high) / 2
        low, high = (middle, high) if step(middle) else (low, middle)
    return sorted(steps, key=lambda taken: taken.rate)


def holds(step: Step, first: Step) -> bool:
    """Whether a step is not past the knee, where `first` was at rest."""
    slow = step.percentiles[99.0] > SLOWER * max(first.percentiles[99.0], 1.0)
    return not slow and step.failed <= 1 - KEPT


def knee(steps: list[Step]) -> Step | None:
    """The last step below which all hold; None where not even the first does."""
    found = None
    for step in steps:
        if not holds(step, steps[0]):
            break
        found = step
    return found
