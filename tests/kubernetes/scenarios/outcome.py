"""What a scenario came to: its calls, what was done meanwhile, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

OK, SKIPPED = "ok", "skipped"
"""How verdicts begin that are none of a failure."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a caller pod.

    Attributes:
        began: seconds since 1970, by the caller's clock.
        seconds: until its answer or error.
        caller: number of the caller within its pod.
        code: name of the gRPC status, `OK` for an answer.
        error: what the caller was told; empty for an answer.
        faces: found.
        degraded: whether a model did not answer.
        variant: who answered.
        models: `name:version` of every model that took part.
    """

    began: float
    seconds: float
    caller: int = 0
    code: str = "OK"
    error: str = ""
    faces: int = 0
    degraded: bool = False
    variant: str = ""
    models: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.code != "OK"


def call_of(line: dict[str, Any]) -> Call:
    """A line of caller_pod.py."""
    return Call(**{**line, "models": tuple(line.get("models", ()))})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done, or seen, at `at` (seconds since 1970)."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """What a panel of a dashboard showed.

    Attributes:
        dashboard: its title.
        title: of the panel.
        unit: Grafana's name of it.
        began: seconds since 1970 of the first value; one follows every `step` seconds.
        lines: values of each series, by its legend; None: it had none.
    """

    dashboard: str
    title: str
    unit: str
    began: float
    step: float
    lines: dict[str, list[float | None]]


@dataclass(slots=True)
class Outcome:
    """Of one scenario.

    Attributes:
        verdict: OK, SKIPPED with the reason, or what went wrong in one line; empty while it goes on.
        facts: what was counted or measured beside the calls, in words.
        kubernetes: what `kubectl get events` showed of it, a line each.
        panels: what dashboards showed of it, where a Prometheus ran.
    """

    scenario: str
    began: float
    ended: float = 0.0
    verdict: str = ""
    events: list[Event] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    kubernetes: list[str] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)

    @property
    def word(self) -> str:
        """The verdict: `ok`, `skipped` or `FAILED`."""
        return next((word for word in (OK, SKIPPED) if self.verdict.startswith(word)), "FAILED")

    @property
    def failures(self) -> list[Call]:
        return [call for call in self.calls if call.failed]

    @property
    def degraded(self) -> int:
        """Answers without one of the models."""
        return sum(call.degraded for call in self.calls)

    @property
    def longest(self) -> float:
        """Seconds that a caller waited for an answer or error at most; 0 without calls."""
        return max((call.seconds for call in self.calls), default=0.0)

    def said(self) -> list[str]:
        """What callers of failed calls were told, the most frequent first."""
        counted = Counter(f"{call.code}: {call.error}" for call in self.failures)
        return [f"{number} x {text}" for text, number in counted.most_common()]
