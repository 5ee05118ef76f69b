"""What a judge remembers beyond its own life, and whose turn it is."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError

from serving.faults import words

LEASE_SECONDS = 30.0
"""After so long without a sign of the judge whose turn it is, another one takes over."""
_MOST_EVENTS = 20


class StateError(ValueError):
    """What lies there is no state of a judge, or one of another version."""


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

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    def with_event(self, time: float, words: str) -> tuple[tuple[float, str], ...]:
        """The events with one more."""
        return (*self.events, (time, words))[-_MOST_EVENTS:]

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


_STATE = TypeAdapter(State)


def load(text: str) -> State:
    """From JSON; of nothing an empty state.

    Raises:
        StateError: it is none: a judge that forgot what it had set would take its own weight for a person's, or begin
            a canary anew that it had taken back.
    """
    if not text.strip():
        return State()
    try:
        return _STATE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StateError(": ".join((*map(str, first["loc"]), words(first)))) from error
