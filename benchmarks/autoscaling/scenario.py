"""How many images a second arrive, as a function of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load.

    Attributes:
        name: of it.
        description: for people.
        seconds: how long it lasts.
        rate: images per second at each of the given seconds, as a share of the peak.
        counted_from: second from which answers count: before, the cluster settles.
    """

    name: str
    description: str
    seconds: int
    rate: Callable[[Seconds], Seconds]
    counted_from: int = 120

    def arrivals(self, peak: float, random: np.random.Generator) -> Seconds:
        """Moments of arrival, ascending: a Poisson process whose rate changes by the second.

        Args:
            peak: images per second where `rate` is 1.
            random: for the numbers.
        """
        seconds = np.arange(self.seconds, dtype=np.float64)
        counts = random.poisson(peak * self.rate(seconds))
        return np.sort(np.repeat(seconds, counts) + random.random(int(counts.sum())))


def _step(t: Seconds) -> Seconds:
    return np.where(t < 600, 2 / 3, 1.0)


def _spike(t: Seconds) -> Seconds:
    return np.where((t >= 600) & (t < 720), 1.0, 0.2)


def _ramp(t: Seconds) -> Seconds:
    return np.interp(t, [0, 300, 900, 1500, 2100], [0.25, 0.25, 1.0, 1.0, 0.25])


def _daily(t: Seconds) -> Seconds:
    # Two humps a day, at noon and in the evening, and a night of a sixth.
    hours = t / 3600 * 24
    noon, evening = np.exp(-(((hours - 12) / 3) ** 2)), np.exp(-(((hours - 20) / 2) ** 2))
    day: Seconds = 0.16 + 0.84 * np.minimum(1.0, 0.8 * noon + evening)
    return day


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("step", "half as much again, at once, for good", 1800, _step),
        Scenario("spike", "five times as much, at once, for two minutes", 1800, _spike),
        Scenario("ramp", "four times as much within ten minutes, held for ten, and back", 2700, _ramp),
        Scenario("daily", "a day of six to one, in an hour", 3600, _daily),
    )
}
