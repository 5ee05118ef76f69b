"""Samples of any depth and order. Pillow unpacks them as a wide picture of bytes; here bytes become numbers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.tiff import directory as tags
from serving.images.tiff.directory import Directory, write
from serving.images.tiff.layout import FLOAT, SIGNED, Layout

_ROWS = 64
"""Rows that are worked on at once: some megabytes of intermediate results."""

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
    planes = (_plane(data, directory, layout, number) for number in range(layout.samples))
    first = next(planes)
    whole = np.empty((layout.height, layout.width, layout.samples), first.dtype)
    whole[..., 0] = first[..., 0]
    for number, plane in enumerate(planes, 1):
        whole[..., number] = plane[..., 0]
    return whole


def _plane(data: bytes, directory: Directory, layout: Layout, number: int) -> Samples:
    """One plane, or all samples where they are not in planes."""
    samples = 1 if layout.planar else layout.samples
    rows = _bytes(data, directory, layout, number)
    columns = layout.block_width * layout.across
    if layout.bits in {10, 12, 14}:
        whole: Samples = np.empty((layout.height, columns * samples), np.uint16)
        for top in range(0, layout.height, _ROWS):
            whole[top : top + _ROWS] = _unpack(rows[top : top + _ROWS], layout)
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
        return np.array(image)


def _unpack(rows: npt.NDArray[np.uint8], layout: Layout) -> npt.NDArray[np.uint16]:
    """Numbers of 10, 12 or 14 bits; each row of a block begins with a whole byte."""
    count = layout.block_width * (1 if layout.planar else layout.samples)
    bits = np.unpackbits(rows.reshape(-1, layout.row_bytes), axis=1)[:, : count * layout.bits]
    padded = np.zeros((len(bits), count, 16), np.uint8)
    padded[..., 16 - layout.bits :] = bits.reshape(len(bits), count, layout.bits)
    return np.packbits(padded, axis=-1).view(">u2").astype(np.uint16).reshape(len(rows), -1)


def _undo_differences(whole: Samples, layout: Layout, samples: int) -> None:
    """TIFF 6.0, section 14: each sample is kept as its difference to the one on its left, by block."""
    for top in range(0, len(whole), _ROWS):
        part = whole[top : top + _ROWS].reshape(-1, layout.block_width, samples)
        whole[top : top + _ROWS] = np.cumsum(part, axis=1, dtype=whole.dtype).reshape(-1, whole.shape[1])


def _undo_float_predictor(rows: npt.NDArray[np.uint8], whole: Samples, layout: Layout, samples: int) -> None:
    """Adobe's TIFF technical note 3: bytes of like weight beside each other, the highest first, as differences.

    Args:
        rows: the bytes; `whole` is the same memory and is written in its own byte order.
    """
    size = layout.bits // 8
    for top in range(0, len(rows), _ROWS):
        part = rows[top : top + _ROWS].reshape(-1, layout.row_bytes // samples, samples)
        sums = np.cumsum(part, axis=1, dtype=np.uint8).reshape(-1, size, layout.row_bytes // size)
        numbers = np.ascontiguousarray(sums.transpose(0, 2, 1)).view(f">u{size}")
        whole[top : top + _ROWS] = numbers.reshape(-1, whole.shape[1])
