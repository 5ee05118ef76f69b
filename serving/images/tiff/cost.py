"""What decoding a TIFF takes in memory, from its layout."""

from __future__ import annotations

from serving.images.tiff.layout import JPEG, RAW, Layout

_ZSTANDARD, _WEBP = 50000, 50001
_LIBTIFF_JPEG = 100 << 20
"""libtiff refuses JPEG data whose coefficients need more."""


def stored_bytes(layout: Layout) -> int:
    """Bytes of one pixel of that picture."""
    return 1 if layout.ours and layout.samples == 1 else 4


def loading_bytes(layout: Layout, *, associated_alpha: bool) -> int:
    """Bytes at the peak until the picture of 8-bit samples is there (`serving.images.tiff.load`).

    Args:
        layout: of the file.
        associated_alpha: colours have been multiplied with alpha already.
    """
    return _ours(layout, associated_alpha=associated_alpha) if layout.ours else _pillows(layout)


def _block(layout: Layout) -> int:
    """A strip or tile, unpacked whole. A tile may be larger than its picture."""
    if layout.compression == RAW:
        return 0
    block = layout.row_bytes * layout.block_height
    return 2 * block if layout.compression == _ZSTANDARD else block  # its window


def _ours(layout: Layout, *, associated_alpha: bool) -> int:
    pixels = layout.width * layout.height
    plane = layout.sample_bytes // (layout.samples if layout.planar else 1)
    unpacked = 2 * plane * 8 // layout.bits if layout.bits in {10, 12, 14} else 0
    samples = pixels * layout.samples * -(-layout.bits // 8) if layout.planar else unpacked or plane
    reading = plane + max(_block(layout), plane, unpacked) + (samples if layout.planar else 0)
    eight = pixels * layout.samples if layout.bits > 8 else 0
    padded = layout.block_width * layout.across > layout.width
    copies = 4 if associated_alpha else int(padded or layout.samples > layout.colours)
    picture = (eight or samples) + copies * pixels * (layout.colours + 1) + pixels * (stored_bytes(layout) & 4)
    return max(reading, samples + eight, picture)


def _pillows(layout: Layout) -> int:
    pixels = layout.width * layout.height
    block = max(_block(layout), 4 * layout.block_width * layout.block_height)
    if layout.compression == _WEBP:
        block *= 3
    if layout.compression == JPEG:
        block += min(_LIBTIFF_JPEG, 8 * pixels)
    return 4 * pixels + max(block, 4 * pixels)  # the copy that outlives the file
