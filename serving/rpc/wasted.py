"""What of a call's time brought it nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Wasted:
    """The longest stretch of a call's time that brought it nothing.

    Attributes:
        seconds: of it.
        refusal: that it ended with; empty: there was no replica.
    """

    seconds: float = 0.0
    refusal: str = ""

    def note(self, seconds: float, refusal: str) -> None:
        """One more such stretch."""
        if seconds > self.seconds:
            self.seconds, self.refusal = seconds, refusal
