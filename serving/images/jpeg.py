"""Decodes JPEGs: the ordinary ones straight into an array, what is odd about others by Pillow."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from serving.images.jpeg_bare import bare
from serving.images.jpeg_segments import has_end
from serving.images.truncation import draft, load_jpeg_without_end


def decode_jpeg(data: bytes, image: Image.Image, reduction: int) -> Image.Image | npt.NDArray[np.uint8]:
    """The first picture of a JPEG as stored.

    Both decoders stand on libjpeg-turbo and give the same pixels, but Pillow's take four bytes each and are copied.

    Args:
        data: the file.
        image: its header, opened by Pillow and set to `reduction` (`serving.images.truncation.draft`).
        reduction: 1, 2, 4 or 8.

    Returns:
        Where it has three components and nothing odd in it, RGB, uint8 [height / reduction, width / reduction, 3],
        rounded up; else Pillow's image.

    Raises:
        OSError: pixels are missing.
    """
    pixels = _decode_plain(data, image, reduction) if image.mode == "RGB" else None
    if pixels is not None:
        return pixels
    whole, _ = bare(data)
    loaded = Image.open(io.BytesIO(whole), formats=["JPEG"])
    draft(loaded, reduction)
    try:
        loaded.load()
    except OSError:
        if has_end(data):
            raise
        return load_jpeg_without_end(whole, reduction)
    return loaded


def _decode_plain(data: bytes, image: Image.Image, reduction: int) -> npt.NDArray[np.uint8] | None:
    """None where libjpeg so much as warns of something: Pillow says what becomes of such a file."""
    width, height = image.size
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_width=width, min_height=height, min_factor=reduction, strict=True
        )
    except ValueError:
        return None
    return pixels if pixels.shape == (height, width, 3) else None
