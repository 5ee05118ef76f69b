"""Encodes pixels, and makes large images smaller, with Pillow."""

from __future__ import annotations

import io
import math
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from ferry.client.errors import InvalidImageError
from ferry.client.results import Size

_MODES = ("L", "RGB", "RGBA")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
"""The EXIF tag, and those of its values that swap width and height."""
_QUALITY = 90
_STEP = 0.8
"""From one size to the next, where the bytes are still too many."""
_LEAST_SIDE = 64


def encode(pixels: Any, *, lossy: bool = False) -> bytes:
    """A PNG, or where it may be `lossy` a JPEG, of an image of Pillow's, upright, or of a NumPy array.

    Raises:
        InvalidImageError: the array is not uint8 [height, width, 3], [height, width, 4] or [height, width], or the
            image is empty, or of a file that is broken: Pillow reads it only now.
    """
    try:
        return _encoded(pixels if isinstance(pixels, Image.Image) else _of_array(pixels), lossy=lossy)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        raise InvalidImageError(f"cannot encode the image: {error}", field="image") from error


def _encoded(image: Image.Image, *, lossy: bool) -> bytes:
    image = ImageOps.exif_transpose(image)
    if image.mode not in _MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    out = io.BytesIO()
    if lossy:
        (image if image.mode == "L" else image.convert("RGB")).save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()
    # The least effort: the connection is faster than zlib.
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def shrink(data: bytes, max_bytes: int, max_megapixels: float) -> tuple[bytes, Size | None, float]:
    """An encoded image within the limits, the size of the upright image before, and by how much it is smaller now.

    Args:
        data: encoded.
        max_bytes: of the encoded image.
        max_megapixels: width * height / 10^6.

    Returns:
        `data` itself, None and 1, where it is within the limits, or is nothing that Pillow reads: whoever gets it will
        say so.

    Raises:
        InvalidImageError: it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            ratio = min(1.0, math.sqrt(max_megapixels * 1e6 / max(1, width * height)))
            if ratio == 1 and len(data) <= max_bytes:
                return data, None, 1.0
            on_its_side = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
            size = Size(height, width) if on_its_side else Size(width, height)
            # A JPEG is decoded no larger than it will be.
            image.draft("RGB", (math.ceil(width * ratio), math.ceil(height * ratio)))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        return data, None, 1.0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidImageError(f"cannot make a smaller copy of the image: {error}", field="image") from error
    while True:
        sides = max(1, int(size.width * ratio)), max(1, int(size.height * ratio))
        out = io.BytesIO()
        upright.resize(sides, Image.Resampling.LANCZOS, reducing_gap=3.0).save(out, "JPEG", quality=_QUALITY)
        if out.tell() <= max_bytes or min(sides) <= _LEAST_SIDE:
            return out.getvalue(), size, sides[0] / size.width
        ratio *= _STEP


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
