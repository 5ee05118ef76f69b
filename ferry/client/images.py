"""From a path, bytes, an open file or pixels to the bytes of an encoded image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from ferry.client.errors import InvalidImageError
from ferry.client.results import Size
from ferry.transport import MAX_MESSAGE_BYTES


@runtime_checkable
class Pixels(Protocol):
    """What NumPy's arrays and Pillow's images have in common; the client needs neither to be installed."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Pixels
"""An encoded image (the path of a file, its bytes, or a file opened in binary mode), or pixels: an image of Pillow's,
or a NumPy array, uint8 [height, width, 3] (red, green, blue) or [height, width] (grey)."""

LARGEST_IMAGE_BYTES = MAX_MESSAGE_BYTES - (1 << 20)
"""What fits into a message beside the options; the cluster's own limit is usually lower (10 MiB)."""


MAX_BYTES, MAX_MEGAPIXELS = 10 << 20, 40.0
"""What a cluster takes of one image, unless it is told otherwise."""
_LARGEST_TO_SHRINK = 1 << 30


def read(image: Image, limit: int = LARGEST_IMAGE_BYTES, *, lossy: bool = False) -> bytes:
    """The encoded bytes of `image`.

    Args:
        image: of any kind.
        limit: bytes; no more are read.
        lossy: make a JPEG of pixels, a tenth of the PNG that they are otherwise.

    Raises:
        InvalidImageError: the file cannot be read, holds more than a message can carry, or the array is no picture.
        TypeError: `image` is none of the kinds above.
    """
    if _is_pixels(image):
        from ferry.client.pixels import encode  # with Pillow, which nobody else needs

        return _bounded(encode(image, lossy=lossy), limit)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _bounded(bytes(image), limit)
    if isinstance(image, (str, os.PathLike)):
        try:
            with Path(image).open("rb") as file:
                return _bounded(file.read(limit + 1), limit)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InvalidImageError(f"cannot read {os.fspath(image)}: {reason}", field="image") from error
    if hasattr(image, "read"):
        try:
            data = image.read(limit + 1)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise InvalidImageError(f"cannot read the image: {error}", field="image") from error
        if not isinstance(data, bytes):
            raise TypeError("open the image file in binary mode ('rb')")
        return _bounded(data, limit)
    raise TypeError(f"an image is a path, bytes, a file opened in binary mode or pixels, not {type(image).__name__}")


def _is_pixels(image: Image) -> bool:
    try:
        return isinstance(image, Pixels)
    except (OSError, ValueError, SyntaxError) as error:  # to look has Pillow read the file of an image
        raise InvalidImageError(f"cannot read the image: {error}", field="image") from error


def read_small(image: Image) -> tuple[bytes, Size | None, float]:
    """As `read`, but of an image that is larger than a cluster takes a smaller copy; then also the size of the upright
    image before, and the factor to the new one. Needs Pillow.

    Raises:
        InvalidImageError, TypeError: as `read`.
    """
    from ferry.client.pixels import shrink  # with Pillow, which nobody else needs

    data, size, factor = shrink(read(image, _LARGEST_TO_SHRINK), MAX_BYTES, MAX_MEGAPIXELS)
    return _bounded(data, LARGEST_IMAGE_BYTES), size, factor


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        most = "the most a message can carry; shrink=True sends a smaller copy" if limit == LARGEST_IMAGE_BYTES else ""
        raise InvalidImageError(f"the image is larger than {limit >> 20} MiB{most and ', '}{most}", field="image")
    return data
