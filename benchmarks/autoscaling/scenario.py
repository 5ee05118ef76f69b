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
        counted_from: second from which everything counts: before, the cluster settles, for which the autoscaler's
            look back over five minutes takes as long.
    """

    name: str
    description: str
    seconds: int
    rate: Callable[[Seconds], Seconds]
    counted_from: int = 420

    @property
    def turns(self) -> int:
        """How often the load itself turns from more to less or back."""
        rate = self.rate(np.arange(self.seconds, dtype=np.float64))
        moves = np.sign(np.diff(rate))
        moves = moves[moves != 0]
        return int((moves[1:] != moves[:-1]).sum())

    def arrivals(self, peak: float, random: np.random.Generator) -> Seconds:
        """Moments of arrival, ascending: a Poisson process whose rate changes by the second.

        Args:
            peak: images per second where `rate` is 1.
            random: for the numbers.
        """
        seconds = np.arange(self.seconds, dtype=np.float64)
        counts = random.poisson(peak * self.rate(seconds))
        return np.sort(np.repeat(seconds, counts) + random.random(int(counts.sum())))


def _steady(t: Seconds) -> Seconds:
    return np.full_like(t, 0.6)


def _step(t: Seconds) -> Seconds:
    return np.where(t < 600, 2 / 3, 1.0)


def _spike(t: Seconds) -> Seconds:
    return np.where((t >= 600) & (t < 720), 1.0, 0.2)


def _ramp(t: Seconds) -> Seconds:
    return np.interp(t, [0, 480, 1080, 1680, 2280], [0.25, 0.25, 1.0, 1.0, 0.25])


def _daily(t: Seconds) -> Seconds:
    # Two humps a day, at noon and in the evening, and a night of a sixth.
    hours = t / 3600 * 24
    noon, evening = np.exp(-(((hours - 12) / 3) ** 2)), np.exp(-(((hours - 20) / 2) ** 2))
    day: Seconds = 0.16 + 0.84 * np.minimum(1.0, 0.8 * noon + evening)
    return day


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady", "the same all the time", 2700, _steady),
        Scenario("step", "half as much again, at once, for good", 1800, _step),
        Scenario("spike", "five times as much, at once, for two minutes", 1800, _spike),
        Scenario("ramp", "four times as much within ten minutes, held for ten, and back", 2880, _ramp),
        Scenario("daily", "a day of six to one, in an hour", 3600, _daily),
    )
}
