"""What callers saw of a fault, and what is said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

Event = tuple[float, float, str]
"""Seconds from the start when a request was due, seconds until its answer, gRPC's code (or DEGRADED)."""
GOOD = frozenset({"OK"})
ANSWERED = frozenset({"OK", "DEGRADED"})
_LATE_SECONDS = 0.25
"""By which a caller on a busy machine may send late, or hear late that its time is up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one fault.

    Attributes:
        events: by the time when they were due.
        began, ended: of the fault, seconds from the start.
        rate: requests a second that were sent.
        capacity: requests a second that the cluster answers at most.
        counters: of metrics, by name and labels: how much they rose.
        deadline: of the callers, seconds.
        period: seconds after which the same was sent at the same times again; None: nothing was.
    """

    events: tuple[Event, ...]
    began: float
    ended: float
    rate: float
    capacity: float
    counters: dict[str, float]
    deadline: float = 1.0
    period: float | None = None

    def between(self, start: float, end: float = float("inf")) -> list[Event]:
        """Requests that were due in that time."""
        return [event for event in self.events if start <= event[0] < end]

    @property
    def failed(self) -> list[Event]:
        """Those without an answer."""
        return [event for event in self.events if event[2] not in ANSWERED]

    @property
    def degraded(self) -> int:
        return sum(event[2] == "DEGRADED" for event in self.events)

    @property
    def last_failure(self) -> float:
        """Seconds from the fault's beginning to when the last failed request was due; 0: none failed."""
        return max((due - self.began for due, _, _ in self.failed), default=0.0)

    def codes(self) -> str:
        """For people: what failures there were."""
        return ", ".join(f"{count} {code}" for code, count in Counter(code for _, _, code in self.failed).items())


def p99(events: list[Event]) -> float:
    """Milliseconds, of answered requests; NaN without any."""
    latencies = [took * 1000 for _, took, code in events if code in ANSWERED]
    return float(np.percentile(latencies, 99)) if latencies else float("nan")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence of what should be, whether it was, and what was seen."""

    claim: str
    holds: bool
    seen: str


def none_failed(outcome: Outcome) -> Finding:
    """No request went without an answer."""
    failed = outcome.failed
    seen = f"{len(failed)} of {len(outcome.events)}" + (f": {outcome.codes()}" if failed else "")
    return Finding("no request fails", not failed, seen)


def back_within(outcome: Outcome, seconds: float, after: float, factor: float = 2.0) -> Finding:
    """p99 of what is due `seconds` after a moment is what it was before, within a factor."""
    before, then = p99(outcome.between(1, outcome.began)), p99(outcome.between(after + seconds))
    seen = f"{before:.0f} ms before, {then:.0f} ms after"
    return Finding(f"p99 is back within {seconds:g} s", then <= factor * before, seen)


def errors_end_within(outcome: Outcome, seconds: float, after: float, what: str) -> Finding:
    """Nothing fails that is due later than `seconds` after a moment, which is `what` of the fault."""
    last = outcome.began + outcome.last_failure - after
    when = f"{last:.1f} s after" if last > 0 else "before"
    seen = f"the last was due {when}; {len(outcome.failed)} failed" if outcome.failed else "none"
    return Finding(f"errors end within {seconds:g} s of {what}", last <= seconds, seen)


def p99_at_most(outcome: Outcome, factor: float = 1.0, extra_ms: float = 0.0, settling: float = 0.0) -> Finding:
    """p99 while the fault lasts, its first `settling` seconds excepted, against the period before it."""
    start, end, period = outcome.began + settling, outcome.ended, outcome.period
    before = p99(outcome.between(1, outcome.began) if period is None else outcome.between(start - period, end - period))
    during = p99(outcome.between(start, end))
    claim = f"p99 at most {factor:g}x" if factor != 1 else f"p99 rises by at most {extra_ms:g} ms"
    claim += f" after {settling:g} s" if settling else ""
    return Finding(claim, during <= factor * before + extra_ms, f"{before:.0f} ms before, {during:.0f} ms during")


def all_in_time(outcome: Outcome) -> Finding:
    """An answer or an error inside the deadline; here it counts from when the request was due, and not sent."""
    longest = outcome.deadline + _LATE_SECONDS
    slowest = max((took for _, took, _ in outcome.events), default=0.0)
    seen = f"the slowest took {slowest:.2f} s; {outcome.codes() or 'no errors'}"
    return Finding(f"an answer or an error within {longest:g} s", slowest <= longest, seen)


def amplification(outcome: Outcome) -> Finding:
    """Calls of gateways and of detectors for each image, or more: what a process counted before it died may be lost."""
    calls, detected = (
        sum(value for name, value in outcome.counters.items() if name.startswith(f"calls of {service}"))
        / max(1, len(outcome.events))
        for service in ("gateway", "detector")
    )
    seen = f"for each image at least {calls:.2f} calls of gateways, {detected:.2f} of detectors"
    return Finding("retry amplification at most 1.2", max(calls, detected) <= 1.2, seen)
