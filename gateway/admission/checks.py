"""Refuses what cannot be answered before anything is spent on it: sizes, options, headers."""

from __future__ import annotations

import asyncio
import math

from ferry.v1 import ensembler_pb2, types_pb2
from gateway.settings import GatewaySettings
from serving.errors import InvalidArgumentError
from serving.faces import MAX_DETAIL
from serving.images import plain_jpeg
from serving.images.header import read_header, read_plain_header
from serving.telemetry import metrics
from serving.thread_pool import ThreadPool
from serving.units import sizes_text

MAX_FACE_SIZE = 65536.0
"""Largest options.min_face_size, pixels."""

_VOTES = frozenset(types_pb2.Vote.values())
_HEADER_THREADS = 2
_MAX_DIGITS = 18


class Checks:
    """The limits of `settings`, applied in the order of what they cost.

    A header is read off the event loop, since a hostile file can hold very many small chunks; that of an ordinary
    JPEG takes less than the way to a thread.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._max_bytes = settings.max_image_bytes
        self._max_megapixels = settings.max_megapixels
        self._max_faces = settings.max_faces
        self._max_batch = settings.max_batch_images
        for reason in ("image_bytes", "options", "image_header", "batch"):
            # A rate misses the first increment of a series that was not there before.
            metrics.REJECTED.labels(reason)
        self._pool = ThreadPool(_HEADER_THREADS, "header")

    def begin(self) -> None:
        """To be called once, when the service starts."""
        self._pool.begin()

    def check(self, image: bytes, options: ensembler_pb2.RecognizeOptions) -> None:
        """Checks what can be seen without looking into the image.

        Raises:
            InvalidArgumentError: the image's length or an option is out of range; its field says which.
        """
        try:
            self._check_length(image)
        except InvalidArgumentError:
            metrics.REJECTED.labels("image_bytes").inc()
            raise
        try:
            self._check_options(options)
        except InvalidArgumentError:
            metrics.REJECTED.labels("options").inc()
            raise

    async def check_header(self, image: bytes) -> None:
        """Checks format and size in pixels.

        Raises:
            InvalidArgumentError: field `image`; of no known format, broken, or too large.
        """
        try:
            if read_plain_header(image, self._max_megapixels) is None:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._pool, read_header, image, self._max_megapixels)
        except InvalidArgumentError:
            metrics.REJECTED.labels("image_header").inc()
            raise

    def is_ordinary(self, image: bytes) -> bool:
        """Whether nothing but Python looks at its header here, so that no gateway can have died of it."""
        return plain_jpeg.look(image) is not None

    def check_announced(self, size: str) -> None:
        """Checks the length of an image that is still to come.

        Args:
            size: bytes, a decimal number; what is none says nothing.

        Raises:
            InvalidArgumentError: field `image`; too long.
        """
        if size.isascii() and size.isdigit() and len(size) <= _MAX_DIGITS and int(size) > self._max_bytes:
            metrics.REJECTED.labels("image_bytes").inc()
            raise self._too_long(int(size))

    def check_all_came(self, images: int, announced: int) -> None:
        """Checks that a call ended where its caller wanted it to end.

        Raises:
            InvalidArgumentError: field `requests`; fewer than `announced`, 0 where nothing was.
        """
        if images < announced:
            metrics.REJECTED.labels("batch").inc()
            raise InvalidArgumentError(
                "requests", f"ended, perhaps within a message, after {images} of {announced} images"
            )

    def check_batch(self, images: int) -> None:
        """Checks the number of images in a batch.

        Raises:
            InvalidArgumentError: field `requests`; none or too many.
        """
        if not 1 <= images <= self._max_batch:
            metrics.REJECTED.labels("batch").inc()
            raise InvalidArgumentError("requests", f"must hold 1 to {self._max_batch} images, not {images}")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check_length(self, image: bytes) -> None:
        if not image:
            raise InvalidArgumentError("image", "is empty; send an encoded image such as a JPEG")
        if len(image) > self._max_bytes:
            raise self._too_long(len(image))

    def _too_long(self, size: int) -> InvalidArgumentError:
        is_, limit = sizes_text(size, self._max_bytes)
        return InvalidArgumentError("image", f"is {is_}, more than {limit}; send a smaller or more compressed copy")

    def _check_options(self, options: ensembler_pb2.RecognizeOptions) -> None:
        if options.max_faces > self._max_faces:
            raise InvalidArgumentError(
                "options.max_faces", f"must be 0 (the default) to {self._max_faces}, not {options.max_faces}"
            )
        _check_range("options.min_detection_score", options.min_detection_score, 1.0)
        _check_range("options.min_face_size", options.min_face_size, MAX_FACE_SIZE)
        if options.detail > MAX_DETAIL:
            raise InvalidArgumentError(
                "options.detail", f"must be 0 (the default) to {MAX_DETAIL}, not {options.detail}"
            )
        if options.vote not in _VOTES:
            raise InvalidArgumentError("options.vote", f"{options.vote} is no rule of fusion that this version knows")


def _check_range(field: str, value: float, largest: float) -> None:
    # Written so that NaN fails too.
    if not 0.0 <= value <= largest:
        shown = f"{value:g}" if math.isfinite(value) else "not a finite number"
        raise InvalidArgumentError(field, f"must be 0 to {largest:g}, is {shown}")
