"""PNGs of every depth in which one colour is transparent: it is white, and no other is."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from serving.images.decode import decode
from tests.serving.images.files import png_chunk

GREY, RGB = 0, 2


def png(samples: npt.NDArray[np.int64], depth: int, colour: int, clear: tuple[int, ...]) -> bytes:
    """Of samples [height, width, channels]; `clear` is transparent."""
    height, width, _ = samples.shape
    rows = samples.reshape(height, -1)
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :].reshape(height, -1)
        lines = [np.packbits(row).tobytes() for row in bits]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", head),
            png_chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)),
            png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))),
            png_chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.7, 1.0])
def test_one_grey_is_transparent(depth: int, share: float) -> None:
    most = (1 << depth) - 1
    samples = np.linspace(0, most, 16).round().astype(np.int64).reshape(4, 4, 1)
    clear = int(samples.flat[round(share * 15)])
    expected = np.where(samples == clear, 255, samples * 255 // most)
    found = decode(png(samples, depth, GREY, (clear,)))
    np.testing.assert_array_equal(found, np.repeat(expected, 3, axis=2))


@pytest.mark.parametrize("depth", [8, 16])
def test_one_colour_is_transparent(depth: int) -> None:
    samples = np.random.default_rng(0).integers(0, 1 << depth, (4, 4, 3))
    for at in np.ndindex(4, 4):
        clear = samples[at]
        expected = samples >> depth - 8
        expected[at] = 255
        np.testing.assert_array_equal(decode(png(samples, depth, RGB, tuple(map(int, clear)))), expected)
