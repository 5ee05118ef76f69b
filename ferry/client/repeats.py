"""What a client has learnt from its calls: whether to wait for a gateway, and how many calls may be sent again."""

from __future__ import annotations

_MOST = 10.0
"""Repetitions that a client may make at once."""
KEPT_FOR_FAILURES = 5.0
"""Of these, such as are not for calls that are refused since there is too much to do: those come in crowds."""
_SHARE = 0.1
"""Of calls that may be sent again in the long run: when gateways fail all calls, their load rises by no more."""


class Repeats:
    """Of one client. Used by several threads without a lock: a lost update changes a fraction of one repetition.

    Attributes:
        wait: whether a call waits, within its time, for a gateway to be reached: one has been there. Where none ever
            was, or none came back while a call waited, the next call says so within a second.
    """

    def __init__(self) -> None:
        self.wait = False
        self._left = _MOST

    def count(self) -> None:
        """A call begins."""
        self._left = min(_MOST, self._left + _SHARE)

    def take(self, keep: float = 0.0) -> bool:
        """Whether a call may be sent again.

        Args:
            keep: repetitions that are to be left for others.
        """
        if self._left < 1 + keep:
            return False
        self._left -= 1
        return True
