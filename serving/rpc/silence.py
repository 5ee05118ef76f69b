"""For how long a replica may say nothing before its caller takes it for one that hangs.

A replica that hangs as a whole is found by gRPC's pings. One whose event loop alone stands still is not: gRPC's own
threads answer pings, its connections live, and its health was well when it was asked last.
"""

from __future__ import annotations

_TIMES = 4.0
"""How much longer than the slowest call of late."""
_FORGOTTEN = 0.98
"""What remains of the slowest call with each one that comes after it: a third after 54."""


class Silence:
    """Of one upstream: grows where calls take long, since not all that is slow hangs.

    Attributes:
        seconds: without an answer, after which a replica is taken for one that hangs.
    """

    def __init__(self, least: float) -> None:
        """
        Args:
            least: seconds.
        """
        self.seconds = self._least = least
        self._slowest = 0.0

    def learn(self, seconds: float) -> None:
        """A call was answered after so long."""
        slowest = self._slowest * _FORGOTTEN
        self._slowest = slowest = seconds if seconds > slowest else slowest
        self.seconds = self._least if slowest * _TIMES < self._least else slowest * _TIMES
