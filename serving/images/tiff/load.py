"""A TIFF file as a picture of 8-bit samples."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.tiff import directory as tags
from serving.images.tiff.directory import Directory, read_directory, write
from serving.images.tiff.layout import (
    RGB,
    UNSIGNED,
    WHITE_IS_ZERO,
    Layout,
    read_layout,
)
from serving.images.tiff.levels import to_eight_bits
from serving.images.tiff.quiet import silence_libtiff
from serving.images.tiff.samples import read_samples

silence_libtiff()

ASSOCIATED_ALPHA, _ALPHA = 1, 2
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


def load(data: bytes, check_size: Callable[[int, int], None]) -> Image.Image:
    """Decodes the first image of a TIFF or BigTIFF file.

    Args:
        data: the file.
        check_size: raises where width and height are not wanted; called before anything is decoded.

    Returns:
        A loaded picture of 8-bit samples, as stored (not turned). `info` has `icc_profile` and `orientation` where the
        file has them.

    Raises:
        InvalidArgumentError: broken, truncated, too large, or of a kind that Ferry does not read; field `image`.
        Exception: what Pillow raises for data that cannot be unpacked.
    """
    directory = read_directory(data)
    layout = read_layout(directory, len(data), check_size)
    image = _ours(data, directory, layout) if layout.ours else _pillows(data, directory, layout)
    image.info = {"orientation": directory.integer(tags.ORIENTATION, 1)}
    if profile := directory.bytes(tags.ICC_PROFILE):
        image.info["icc_profile"] = profile
    return image


def _ours(data: bytes, directory: Directory, layout: Layout) -> Image.Image:
    tag = tags.MAX_SAMPLE_VALUE if layout.format == UNSIGNED else tags.S_MAX_SAMPLE_VALUE
    samples = read_samples(data, directory, layout)
    pixels = to_eight_bits(samples, layout.bits, layout.colours, max(directory.integers(tag), default=0))
    del samples
    if layout.photometric == WHITE_IS_ZERO:
        np.subtract(255, pixels[..., :1], out=pixels[..., :1])
    return _picture(pixels, layout, directory.integers(tags.EXTRA_SAMPLES))


def _picture(pixels: npt.NDArray[np.uint8], layout: Layout, extra: tuple[int, ...]) -> Image.Image:
    """The picture without the samples that say nothing about how it looks."""
    colours, mode = layout.colours, _MODES[layout.colours]
    if not extra and layout.photometric == RGB and layout.samples == 4:
        extra = (_ALPHA,)  # what writers mean that forget to say it
    alpha = extra[0] if extra and colours in {1, 3} and layout.samples > colours else None
    if alpha == _ALPHA:
        return _from(pixels[..., : colours + 1], "LA" if colours == 1 else "RGBA")
    if alpha == ASSOCIATED_ALPHA:
        room = 255 - pixels[..., colours : colours + 1]
        return _from(pixels[..., :colours] + np.minimum(room, 255 - pixels[..., :colours]), mode)
    return _from(pixels[..., :colours], mode)


def _from(pixels: npt.NDArray[np.uint8], mode: str) -> Image.Image:
    solid: Any = np.ascontiguousarray(pixels)
    return Image.frombuffer(mode, (pixels.shape[1], pixels.shape[0]), solid, "raw", mode, 0, 1)


def _pillows(data: bytes, directory: Directory, layout: Layout) -> Image.Image:
    """What Pillow reads well: few bits, palettes, YCbCr, LAB, JPEG, CCITT."""
    pieces = {
        tags.TILE_OFFSETS if layout.tiled else tags.STRIP_OFFSETS: layout.offsets,
        tags.TILE_BYTE_COUNTS if layout.tiled else tags.STRIP_BYTE_COUNTS: layout.counts,
    }
    if not layout.tiled:
        pieces[tags.ROWS_PER_STRIP] = (layout.block_height,)
    unwanted = dict.fromkeys((tags.ORIENTATION, tags.ICC_PROFILE, tags.MAX_SAMPLE_VALUE, tags.S_MAX_SAMPLE_VALUE), ())
    with Image.open(io.BytesIO(write(data, directory, {**unwanted, **pieces})), formats=["TIFF"]) as image:
        image.load()
        return image.copy()
