"""Samples of any depth and order. Pillow unpacks them as a wide picture of bytes; here bytes become numbers."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.tiff import directory as tags
from serving.images.tiff.directory import Directory, write
from serving.images.tiff.layout import FLOAT, SIGNED, Layout
from serving.images.tiff.levels import rows_at_once

Samples = npt.NDArray[Any]


def read_samples(data: bytes, directory: Directory, layout: Layout) -> Samples:
    """All samples of an image for which `layout.ours` holds.

    Returns:
        [height, width, samples] of uint8, uint16, uint32, int8, int16, int32, float16, float32 or float64; depths
        between 8 and 16 come as uint16.

    Raises:
        OSError, ValueError: the blocks cannot be unpacked.
    """
    if not layout.planar:
        return _plane(data, directory, layout, 0)
    whole: Samples | None = None
    for number in range(layout.samples):
        plane = _plane(data, directory, layout, number)
        if whole is None:
            whole = np.empty((layout.height, layout.width, layout.samples), plane.dtype)
        whole[..., number] = plane[..., 0]
        del plane  # before the next one is read
    assert whole is not None
    return whole


def _plane(data: bytes, directory: Directory, layout: Layout, number: int) -> Samples:
    """One plane, or all samples where they are not in planes."""
    samples = 1 if layout.planar else layout.samples
    rows = _bytes(data, directory, layout, number)
    columns = layout.block_width * layout.across
    if layout.bits in {10, 12, 14}:
        whole: Samples = np.empty((layout.height, columns * samples), np.uint16)
        step = rows_at_once(columns * samples)
        for top in range(0, layout.height, step):
            whole[top : top + step] = _unpack(rows[top : top + step], layout)
    else:
        whole = rows.view(f"{directory.order}u{layout.bits // 8}")
        if layout.predictor == 3:
            _undo_float_predictor(rows, whole, layout, samples)
        if not whole.dtype.isnative:
            whole = whole.byteswap(inplace=True).view(whole.dtype.newbyteorder("="))
        if layout.predictor == 2:
            _undo_differences(whole, layout, samples)
    kind = {SIGNED: "i", FLOAT: "f"}.get(layout.format, "u")
    whole = whole.view(f"{kind}{whole.itemsize}").reshape(layout.height, columns, samples)
    return whole[:, : layout.width]


def _bytes(data: bytes, directory: Directory, layout: Layout, number: int) -> npt.NDArray[np.uint8]:
    """The unpacked bytes of a plane, uint8 [height, blocks across * bytes of a block's row], writable."""
    blocks = layout.across * -(-layout.height // layout.block_height)
    own = slice(number * blocks, (number + 1) * blocks)
    block = {
        tags.TILE_WIDTH: (layout.row_bytes,) if layout.tiled else (),
        tags.TILE_LENGTH: (layout.block_height,) if layout.tiled else (),
        tags.ROWS_PER_STRIP: () if layout.tiled else (layout.block_height,),
        tags.TILE_OFFSETS: layout.offsets[own] if layout.tiled else (),
        tags.TILE_BYTE_COUNTS: layout.counts[own] if layout.tiled else (),
        tags.STRIP_OFFSETS: () if layout.tiled else layout.offsets[own],
        tags.STRIP_BYTE_COUNTS: () if layout.tiled else layout.counts[own],
    }
    picture = {
        tags.WIDTH: (layout.row_bytes * layout.across,),
        tags.HEIGHT: (layout.height,),
        tags.BITS_PER_SAMPLE: (8,),
        tags.SAMPLES_PER_PIXEL: (1,),
        tags.SAMPLE_FORMAT: (1,),
        tags.PHOTOMETRIC: (1,),
        tags.COMPRESSION: (layout.compression,),
        tags.FILL_ORDER: (2,) if directory.integer(tags.FILL_ORDER, 1) == 2 else (),
    }
    unknown = dict.fromkeys(directory.entries.keys() - block.keys() - picture.keys(), ())
    with Image.open(io.BytesIO(write(data, directory, {**unknown, **picture, **block})), formats=["TIFF"]) as image:
        image.load()
        return _copied(image)


def _copied(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The bytes of a grey picture; at once, Pillow would need them three times."""
    rows = np.empty((image.height, image.width), np.uint8)
    step = rows_at_once(image.width)
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        rows[top : top + step] = np.asarray(band)
    return rows


def _unpack(rows: npt.NDArray[np.uint8], layout: Layout) -> npt.NDArray[np.uint16]:
    """Numbers of 10, 12 or 14 bits; each row of a block begins with a whole byte."""
    count = layout.block_width * (1 if layout.planar else layout.samples)
    together = math.lcm(layout.bits, 8) // 8  # bytes that hold whole numbers
    numbers = together * 8 // layout.bits
    blocks = rows.reshape(-1, layout.row_bytes)
    groups = -(-layout.row_bytes // together)
    padded = np.zeros((len(blocks), groups * together), np.uint8)
    padded[:, : layout.row_bytes] = blocks
    whole = np.zeros((len(blocks), groups), np.uint64)
    for place in range(together):
        whole = (whole << np.uint64(8)) | padded[:, place::together]
    unpacked = np.empty((len(blocks), groups * numbers), np.uint16)
    for place in range(numbers):
        shift = np.uint64(together * 8 - layout.bits * (place + 1))
        unpacked[:, place::numbers] = (whole >> shift) & np.uint64((1 << layout.bits) - 1)
    return unpacked[:, :count].reshape(len(rows), -1)


def _undo_differences(whole: Samples, layout: Layout, samples: int) -> None:
    """TIFF 6.0, section 14: each sample is kept as its difference to the one on its left, by block."""
    step = rows_at_once(whole.shape[1])
    for top in range(0, len(whole), step):
        part = whole[top : top + step].reshape(-1, layout.block_width, samples)
        whole[top : top + step] = np.cumsum(part, axis=1, dtype=whole.dtype).reshape(-1, whole.shape[1])


def _undo_float_predictor(rows: npt.NDArray[np.uint8], whole: Samples, layout: Layout, samples: int) -> None:
    """Adobe's TIFF technical note 3: bytes of like weight beside each other, the highest first, as differences.

    Args:
        rows: the bytes; `whole` is the same memory and is written in its own byte order.
    """
    size = layout.bits // 8
    step = rows_at_once(whole.shape[1])
    for top in range(0, len(rows), step):
        part = rows[top : top + step].reshape(-1, layout.row_bytes // samples, samples)
        sums = np.cumsum(part, axis=1, dtype=np.uint8).reshape(-1, size, layout.row_bytes // size)
        numbers = np.ascontiguousarray(sums.transpose(0, 2, 1)).view(f">u{size}")
        whole[top : top + step] = numbers.reshape(-1, whole.shape[1])
