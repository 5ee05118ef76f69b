"""How much the gateway works on at once; what is more is refused at once, not queued."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import OverloadedError
from serving.telemetry import metrics

_RETRY_AFTER_SECONDS = 0.5


class InFlight:
    """Counts images and their bytes over all calls. One event loop."""

    def __init__(self, max_images: int, max_bytes: int) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._images = 0
        self._bytes = 0
        self._refused = metrics.REJECTED.labels("overload")

    @contextmanager
    def hold(self, images: int, size: int) -> Iterator[None]:
        """Holds room for as long as the context lasts. A call alone is never refused, whatever its size.

        Args:
            images: how many are worked on at once.
            size: bytes of all images of the call.

        Raises:
            OverloadedError: no room.
        """
        full = self._images + images > self._max_images or self._bytes + size > self._max_bytes
        if full and self._images:
            self._refused.inc()
            # Spread, so that those who were refused together do not come back together.
            raise OverloadedError(
                "too many images in flight; try again shortly", _RETRY_AFTER_SECONDS * random.uniform(0.5, 1.5)
            )
        self._images += images
        self._bytes += size
        try:
            yield
        finally:
            self._images -= images
            self._bytes -= size
