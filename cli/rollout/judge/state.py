"""What a judge remembers beyond its own life, and whose turn it is."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass

LEASE_SECONDS = 30.0
"""After so long without a sign of the judge whose turn it is, another one takes over."""
_MOST_EVENTS = 20


class Phase(enum.StrEnum):
    """How a judge stands to a pipeline."""

    IDLE = "idle"
    """Nothing to judge yet."""
    STEPPING = "stepping"
    DONE = "done"
    """At the last step; still watched."""
    ROLLED_BACK = "rolled-back"
    STOOD_BACK = "stood-back"
    """A person has set another weight: theirs counts."""


@dataclass(frozen=True, slots=True)
class State:
    """Attributes:
    phase: see there.
    fingerprint: of the canary's pipeline that is judged.
    share: that the judge gave the canary last.
    since: when, Unix time in seconds.
    reason: why it stands where it stands, in words.
    holder: the judge whose turn it is.
    until: Unix time up to which it is.
    events: the last changes, oldest first: Unix time and words.
    """

    phase: Phase = Phase.IDLE
    fingerprint: str = ""
    share: float = 0.0
    since: float = 0.0
    reason: str = ""
    holder: str = ""
    until: float = 0.0
    events: tuple[tuple[float, str], ...] = ()

    def with_event(self, time: float, words: str) -> tuple[tuple[float, str], ...]:
        """The events with one more."""
        return (*self.events, (time, words))[-_MOST_EVENTS:]

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


def load(text: str) -> State:
    """From JSON; what is none is an empty state: a judge then begins anew, at the weight that it finds."""
    try:
        fields = json.loads(text) if text else {}
        fields["phase"] = Phase(fields.get("phase", Phase.IDLE))
        fields["events"] = tuple((float(time), str(words)) for time, words in fields.get("events", ()))
        return State(**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return State()
