"""Encodes pixels without loss, with Pillow."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageOps

from ferry.client.errors import InvalidImageError

_MODES = ("L", "RGB", "RGBA")


def encode(pixels: Any) -> bytes:
    """A PNG of an image of Pillow's, upright, or of a NumPy array.

    Raises:
        InvalidImageError: the array is not uint8 [height, width, 3], [height, width, 4] or [height, width].
    """
    image = pixels if isinstance(pixels, Image.Image) else _of_array(pixels)
    image = ImageOps.exif_transpose(image)
    if image.mode not in _MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    out = io.BytesIO()
    # The least effort: the connection is faster than zlib.
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _of_array(array: Any) -> Image.Image:
    interface = array.__array_interface__
    shape, kind = tuple(interface["shape"]), interface["typestr"]
    if kind != "|u1" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in {3, 4})) or 0 in shape:
        raise InvalidImageError(
            f"an array must be uint8 [height, width, 3] (red, green, blue) or [height, width] (grey), not {kind} "
            f"{list(shape)}",
            field="image",
        )
    return Image.fromarray(array)
