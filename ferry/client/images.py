"""From a path, bytes, an open file or pixels to the bytes of an encoded image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from ferry.client.errors import InvalidImageError
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


def read(image: Image) -> bytes:
    """The encoded bytes of `image`; reads no more than a message can carry.

    Raises:
        InvalidImageError: the file cannot be read, holds more than a message can carry, or the array is no picture.
        TypeError: `image` is none of the kinds above.
    """
    if isinstance(image, Pixels):
        from ferry.client.pixels import encode  # with Pillow, which nobody else needs

        return _bounded(encode(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _bounded(bytes(image))
    if isinstance(image, (str, os.PathLike)):
        try:
            with Path(image).open("rb") as file:
                return _bounded(file.read(LARGEST_IMAGE_BYTES + 1))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InvalidImageError(f"cannot read {os.fspath(image)}: {reason}", field="image") from error
    if hasattr(image, "read"):
        data = image.read(LARGEST_IMAGE_BYTES + 1)
        if not isinstance(data, bytes):
            raise TypeError("open the image file in binary mode ('rb')")
        return _bounded(data)
    raise TypeError(f"an image is a path, bytes, a file opened in binary mode or pixels, not {type(image).__name__}")


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST_IMAGE_BYTES:
        raise InvalidImageError(
            f"the image is larger than {LARGEST_IMAGE_BYTES >> 20} MiB, the most a message can carry", field="image"
        )
    return data
