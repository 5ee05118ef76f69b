"""Two ways of doing the same, timed in turns: what disturbs the machine disturbs both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np


def median_ms(calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Median milliseconds of each call; they take turns for `seconds` each, after one run that does not count.

    Args:
        calls: what to time.
        seconds: for each of them; every one runs three times at least.
    """
    for call in calls:
        call()
    durations: list[list[float]] = [[] for _ in calls]
    while any(len(own) < 3 or sum(own) < seconds for own in durations):
        for call, own in zip(calls, durations, strict=True):
            if len(own) >= 3 and sum(own) >= seconds:
                continue
            started = time.perf_counter()
            call()
            own.append(time.perf_counter() - started)
    return [float(np.median(own)) * 1000 for own in durations]
