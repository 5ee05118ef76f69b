"""How long a call will take, by those that have ended: a caller with less time is told at once."""

from __future__ import annotations

import math
import time

_NEWS = 0.05
"""Weight of the newest call in both means."""
_CALLS = 20
"""That have ended, before anything is foreseen."""
_FEW = 2
"""Images under way that are always let in: by them the pace is measured anew when everything has become faster."""
_DISTURBED_SECONDS = 2.0
"""After the last sign of it."""
_SHARE = 0.5
"""Of a caller's time that may be foreseen to pass: calls take longer than their mean, too."""
_BURST_SHARE = 0.8
"""The same shortly after rest: what waits when a replica was lost, say, is soon worked off, and whoever is refused has
failed for certain."""
_REST_SECONDS = 1.5
"""After the last call that was alone."""


class Pace:
    """Images under way and the seconds that they take are in proportion (Little's law) as soon as they wait for each
    other. So one proportion, of the mean of both, says how long the next one will take. One event loop.
    """

    def __init__(self) -> None:
        self._disturbed_until = -math.inf
        self._images = 0.0
        self._seconds = 0.0
        self._calls = 0
        self._rested_until = -math.inf

    def learn(self, images: int, seconds: float, *, answered: bool) -> None:
        """A call has ended.

        Args:
            images: under way when it began, its own included.
            seconds: that it took.
            answered: False: its time was up; it would have taken longer.
        """
        if images < _FEW or self._is_disturbed or (not answered and seconds < images * self._each):
            return
        self._calls += 1
        weight = max(_NEWS, 1 / self._calls)
        self._images += weight * (images - self._images)
        self._seconds += weight * (seconds - self._seconds)

    def disturb(self) -> None:
        """Something that calls need is away, and they wait for that and not for each other: nothing can be learnt, and
        nothing is gained by letting fewer in."""
        self._disturbed_until = time.monotonic() + _DISTURBED_SECONDS

    @property
    def _is_disturbed(self) -> bool:
        return time.monotonic() < self._disturbed_until

    @property
    def _each(self) -> float:
        return self._seconds / self._images if self._images else 0.0

    def excess(self, images: int, seconds: float) -> float:
        """Seconds by which a call would be late; 0 or less: it is let in. Learns that there is rest, too.

        Args:
            images: under way, its own included.
            seconds: that its caller has.
        """
        now = time.monotonic()
        if images == 1:
            self._rested_until = now + _REST_SECONDS
        if images <= _FEW or self._is_disturbed or self._calls < _CALLS:
            return 0.0
        return images * self._each - (_BURST_SHARE if now < self._rested_until else _SHARE) * seconds
