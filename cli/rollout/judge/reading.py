"""What gateways have counted of their variants, by the time it was read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.telemetry.scrape import Scrape

CALLERS_OWN = frozenset({"INVALID_ARGUMENT", "NOT_FOUND"})
"""Codes that say nothing about a variant."""
COUNTED = (
    "ferry_variant_errors_total",
    "ferry_variant_fallbacks_total",
    "ferry_variant_degraded_total",
)
LATENCY = "ferry_prediction_latency_seconds"
PIPELINE = "ferry_variant_pipeline"
STARTED = "process_start_time_seconds"


@dataclass(slots=True)
class Counts:
    """Of one variant, rising.

    What the cache answers is not among it: that can neither fail nor be degraded, and a new variant has little of it.

    Attributes:
        errors: images that it was asked for and did not answer; another variant may have.
        fell_back: images of its callers that `stable` was asked for, after an error or because it is known to be lost.
        answered: its answers that were computed, for the caller or for another one who asked the same at that time.
        degraded: of those, answers that a model is missing from.
        computed: answers computed for the caller, by upper bound of their time in seconds, not cumulative.
    """

    errors: float = 0.0
    fell_back: float = 0.0
    answered: float = 0.0
    degraded: float = 0.0
    computed: dict[float, float] = field(default_factory=dict)

    @property
    def failed(self) -> float:
        """Images that it did not answer, at least: how many are both an error and a fall back is not counted."""
        return max(self.errors, self.fell_back)

    @property
    def tried(self) -> float:
        """Images that it had to compute, those that it failed with and those that it answered."""
        return self.failed + self.answered

    def plus(self, other: Counts, sign: int = 1) -> Counts:
        """Both together, or their difference."""
        bounds = self.computed.keys() | other.computed.keys()
        return Counts(
            self.errors + sign * other.errors,
            self.fell_back + sign * other.fell_back,
            self.answered + sign * other.answered,
            self.degraded + sign * other.degraded,
            {bound: self.computed.get(bound, 0.0) + sign * other.computed.get(bound, 0.0) for bound in bounds},
        )

    @property
    def risen(self) -> bool:
        """Whether nothing in it is negative: else a process has started anew in between."""
        plain = (self.errors, self.fell_back, self.answered, self.degraded)
        return min(*plain, *self.computed.values(), 0.0) >= 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process says.

    Attributes:
        counts: by variant.
        pipelines: fingerprint by variant, of those that it knows.
        started: when the process did, Unix time in seconds; None: it does not say.
    """

    counts: Mapping[str, Counts]
    pipelines: Mapping[str, str]
    started: float | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """What all of them say.

    Attributes:
        by_process: by address.
        missing: addresses that did not answer.
    """

    by_process: Mapping[str, Reading]
    missing: tuple[str, ...] = ()


def read(scrape: Scrape) -> Reading:
    """From the metrics page of a gateway.

    Raises:
        ValueError: something that was counted is no number.
    """
    _check(scrape)
    counts: dict[str, Counts] = {}

    def of(labels: tuple[tuple[str, str], ...]) -> Counts:
        return counts.setdefault(dict(labels).get("variant", ""), Counts())

    for labels, value in scrape.values.get("ferry_variant_errors_total", {}).items():
        if dict(labels).get("code") not in CALLERS_OWN:
            of(labels).errors += value
    for labels, value in scrape.values.get("ferry_variant_fallbacks_total", {}).items():
        of(labels).fell_back += value
    for labels, value in scrape.values.get("ferry_variant_degraded_total", {}).items():
        of(labels).degraded += value
    for labels, histogram in scrape.histograms.get(LATENCY, {}).items():
        one, cache = of(labels), dict(labels).get("cache")
        if cache != "hit":
            one.answered += histogram.count
        if cache in {"miss", "bypass"}:
            below = 0.0
            for bound, up_to in histogram.buckets:
                one.computed[bound] = one.computed.get(bound, 0.0) + up_to - below
                below = up_to
    pipelines = {
        dict(labels)["variant"]: dict(labels)["fingerprint"]
        for labels, value in scrape.values.get(PIPELINE, {}).items()
        if value
    }
    return Reading(counts, pipelines, next(iter(scrape.values.get(STARTED, {}).values()), None))


def _check(scrape: Scrape) -> None:
    for name in COUNTED:
        for value in scrape.values.get(name, {}).values():
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}")
    for histogram in scrape.histograms.get(LATENCY, {}).values():
        if not all(math.isfinite(up_to) for _, up_to in histogram.buckets):
            raise ValueError(f"{LATENCY} holds no numbers")


class Window:
    """What was counted lately, over all processes, whatever started anew or went."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: that count as lately.
        """
        self._seconds = seconds
        self._last: dict[str, tuple[float, Reading]] = {}
        self._steps: deque[tuple[float, dict[str, Counts]]] = deque()
        self._anew: dict[str, float] = {}

    def add(self, now: float, readings: Readings) -> dict[str, Counts]:
        """Takes in what was read at `now`, seconds; returns, by variant, what was counted since the last time.

        Where the clock has been put back, what was counted before is forgotten: nothing says how long ago it was.
        """
        if self._steps and now < self._steps[-1][0]:
            self._steps.clear()
            self._last = {process: (now, reading) for process, (_, reading) in self._last.items()}
            self._anew = dict.fromkeys(self._anew, now)
        step: dict[str, Counts] = {}
        for process, reading in readings.by_process.items():
            _, before = self._last.get(process, (now, None))
            # What a process counted before it was first seen, or while it was long out of sight, is nobody's.
            if before is not None:
                more, anew = _more(reading, before, now - self._seconds)
                if anew:
                    self._anew[process] = now
                for variant, counts in more.items():
                    step[variant] = step.get(variant, Counts()).plus(counts)
            self._last[process] = now, reading
        self._steps.append((now, step))
        oldest = now - self._seconds
        while self._steps and self._steps[0][0] < oldest:
            self._steps.popleft()
        self._last = {process: seen for process, seen in self._last.items() if seen[0] >= oldest}
        self._anew = {process: at for process, at in self._anew.items() if at >= oldest}
        return step

    @property
    def gone(self) -> tuple[str, ...]:
        """Processes that were read lately, and not the last time: until they are forgotten something is not known."""
        return tuple(
            sorted(process for process, (at, _) in self._last.items() if self._steps and at < self._steps[-1][0])
        )

    @property
    def anew(self) -> tuple[str, ...]:
        """Processes that started anew lately: what they counted just before is not known."""
        return tuple(sorted(self._anew))

    def since(self, time: float) -> dict[str, Counts]:
        """By variant, what was counted after `time` and within the window."""
        found: dict[str, Counts] = {}
        for at, step in self._steps:
            if at > time:
                for variant, counts in step.items():
                    found[variant] = found.get(variant, Counts()).plus(counts)
        return found


def _more(reading: Reading, before: Reading, lately: float) -> tuple[dict[str, Counts], bool]:
    """What a process counted since, by variant, and whether it started anew in between.

    A process that did has counted what it shows since its start, if it says when that was, and that was after `lately`:
    else it is another, older one behind the same address. One counter that went back without a word of a start makes
    all of them worthless.
    """
    if reading.started is not None and before.started is not None and reading.started != before.started:
        return dict(reading.counts) if reading.started >= lately else {}, True
    more = {variant: of.plus(before.counts.get(variant, Counts()), -1) for variant, of in reading.counts.items()}
    if not all(counts.risen for counts in more.values()):
        return {}, True
    return more, False


def quantile_bound(counts: Counts, quantile: float) -> float | None:
    """The upper bound of the bucket that holds a quantile of the computed answers, seconds; None without any."""
    total = sum(counts.computed.values())
    if total <= 0:
        return None
    below = 0.0
    for bound in sorted(counts.computed):
        below += counts.computed[bound]
        if below >= quantile * total:
            return bound
    return math.inf
