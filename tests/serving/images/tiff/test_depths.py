"""Samples of every depth, order and layout come out as the grey levels they mean."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from serving.images.header import read_header
from tests.serving.images.tiff.files import Kind, write

HEIGHT, WIDTH = 37, 53
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
SHARES = np.stack([_X / (WIDTH - 1), _Y / (HEIGHT - 1), 1 - (_X + _Y) / (WIDTH + HEIGHT)], axis=2)
"""A smooth picture in [0, 1], different in every corner."""

LAYOUTS = [
    Kind(order, big, planar, tile, deflate)
    for order, big, planar, tile, deflate in itertools.product("<>", (0, 1), (0, 1), (None, (16, 32)), (0, 1))
]


def difference(data: bytes, expected: npt.NDArray[Any]) -> float:
    """Mean difference to `expected` (0 to 255) in grey levels."""
    pixels = decode(data)
    expected = np.repeat(expected[..., None], 3, axis=2) if expected.ndim == 2 else expected
    assert pixels.shape == expected.shape
    header = read_header(data)
    assert (header.format, header.width, header.height) == ("TIFF", expected.shape[1], expected.shape[0])
    return float(np.abs(pixels - expected).mean())


@pytest.mark.parametrize("kind", LAYOUTS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "white"),
    [("u1", 255), ("u2", 65535), ("u2", 4095), ("u4", 65535), ("u4", 2**32 - 1), ("f2", 1), ("f4", 1), ("f8", 255)],
)
def test_colour(kind: Kind, dtype: str, white: float) -> None:
    assert difference(write((SHARES * white).astype(dtype), kind), SHARES * 255) < 1


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "white"),
    [
        *(("u1", 255), ("u2", 255), ("u2", 1023), ("u2", 4095), ("u2", 16383), ("u2", 65535), ("u4", 4095)),
        *(("u4", 3_000_000_000), ("i2", 32767), ("i2", 4095), ("i4", 70_000), ("i4", 65535)),
        *(("f2", 1), ("f4", 1), ("f4", 255), ("f4", 65535), ("f8", 1), ("f4", 1e9)),
    ],
)
def test_grey(dtype: str, white: float, order: str, photometric: int) -> None:
    shares = SHARES[..., 1]
    expected = shares * 255 if photometric else 255 - shares * 255
    assert difference(write((shares * white).astype(dtype), Kind(order, photometric=photometric)), expected) < 1


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("dtype", "predictor"), [("u1", 2), ("u2", 2), ("u4", 2), ("f2", 3), ("f4", 3), ("f8", 3)])
@pytest.mark.parametrize("planar", [False, True])
def test_predictors(dtype: str, predictor: int, order: str, tile: tuple[int, int] | None, planar: bool) -> None:
    white = 1 if dtype[0] == "f" else 2 ** (8 * int(dtype[1])) - 1
    kind = Kind(order, planar=planar, tile=tile, deflate=True, predictor=predictor)
    assert difference(write((SHARES * white).astype(dtype), kind), SHARES * 255) < 1


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits(bits: int, tile: tuple[int, int] | None) -> None:
    samples = (SHARES * (2**bits - 1)).astype(np.uint16)
    assert difference(write(samples, Kind(bits=bits, tile=tile)), SHARES * 255) < 1
    assert difference(write(samples[..., 1], Kind(">", bits=bits, tile=tile, deflate=True)), SHARES[..., 1] * 255) < 1


def test_reversed_bits() -> None:
    for dtype, white in (("u1", 255), ("u2", 65535)):
        kind = Kind(reversed_bits=True)
        assert difference(write((SHARES * white).astype(dtype), kind), SHARES * 255) < 1
    assert difference(write((SHARES * 255).astype("u1"), Kind(reversed_bits=True, deflate=True)), SHARES * 255) < 1


def test_the_largest_sample_that_a_file_declares_says_how_deep_it_is() -> None:
    dark = SHARES[..., 1] * 0.05
    for tag, white, expected in ((281, 65535, dark), (281, 4095, dark * 16), (281, 3276, dark * 16)):
        data = write((dark * 65535).astype("u2"), Kind(tags={tag: (white,)}))
        assert difference(data, expected * 255) < 1
    bright = (SHARES[..., 1] * 65535).astype("u2")
    assert difference(write(bright, Kind(tags={281: (1,)})), SHARES[..., 1] * 255) < 1, "it is a lie"


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-128, 127), (-30000, 30000)])
def test_negative_samples_shift_black(low: float, high: float) -> None:
    for dtype in ("f4", "f8") if high == 1 else ("f4", "i2", "i4"):
        samples = (low + SHARES * (high - low)).astype(dtype)
        exact = samples.astype(float)
        whole = (exact - exact.min()) / (exact.max() - exact.min())
        assert difference(write(samples, Kind()), whole * 255) < 1.5


@pytest.mark.parametrize("odd", [1.0001, 1.7, 40_000.0, np.inf, np.nan, -0.01])
def test_a_few_odd_floats_do_not_decide(odd: float) -> None:
    samples = SHARES[..., 1].astype("f4")
    samples[3, 3:8] = odd
    expected = np.clip(np.nan_to_num(samples, nan=0, posinf=0), 0, 1) * 255
    assert difference(write(samples, Kind()), expected) < 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -3.0])
def test_floats_that_show_nothing_are_black_or_flat(value: float) -> None:
    pixels = decode(write(np.full((8, 8), value, "f4"), Kind()))
    assert pixels.min() == pixels.max()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize(
    ("extra", "expected"), [(0, lambda c: c), (1, lambda c: c * 0.25 + 0.75), (2, lambda c: c * 0.25 + 0.75)]
)
def test_alpha(dtype: str, colours: int, extra: int, expected: Any) -> None:
    white = 255 if dtype == "u1" else 65535
    shares = SHARES[..., -colours:]
    alpha = np.full((HEIGHT, WIDTH, 1), 0.25)
    stored = np.concatenate([shares * (0.25 if extra == 1 else 1), alpha], axis=2)
    data = write(
        (stored * white).round().astype(dtype), Kind(tags={338: (extra,)}, photometric=2 if colours == 3 else 1)
    )
    wanted = np.broadcast_to(expected(shares), (HEIGHT, WIDTH, 3)) * 255
    assert difference(data, wanted) < 1.5


def test_inks_and_samples_that_nobody_knows() -> None:
    inks = np.concatenate([SHARES, np.zeros((HEIGHT, WIDTH, 1))], axis=2)
    for dtype, white in (("u1", 255), ("u2", 65535)):
        data = write((inks * white).astype(dtype), Kind(photometric=5))
        assert difference(data, 255 - SHARES * 255) < 1.5
        many = np.concatenate([SHARES, SHARES[..., ::-1], SHARES], axis=2)
        data = write((many * white).astype(dtype), Kind(tags={338: (0,) * 6}))
        assert difference(data, SHARES * 255) < 1


@pytest.mark.parametrize(
    ("samples", "kind", "says"),
    [
        (np.zeros((8, 8), "u8"), Kind(), "64-bit unsigned samples"),
        (np.zeros((8, 8), "u2"), Kind(photometric=32803), "raw values of a camera"),
        (np.zeros((8, 8), "u1"), Kind(tags={259: (34712,)}), "compression 34712"),
        (np.zeros((8, 8), "u1"), Kind(tags={277: (17,)}), "17 samples in a pixel"),
        (np.zeros((8, 8), "u1"), Kind(tags={262: (2,)}), "1 samples in a pixel"),
        (np.zeros((8, 8, 3), "u1"), Kind(tags={258: (8, 8, 16)}), "different kinds"),
        (np.zeros((8, 8), "u1"), Kind(tags={339: (6,)}), "complex samples"),
        (np.zeros((8, 8, 3), "u2"), Kind(photometric=6), "16-bit samples of photometric interpretation 6"),
        (np.zeros((8, 8, 3), "u1"), Kind(photometric=6), "colours of a lower resolution"),
        (np.zeros((8, 8), "u2"), Kind(photometric=3), "16-bit samples of photometric interpretation 3"),
        (np.zeros((8, 8), "u1"), Kind(predictor=3), "predictor 3"),
        (np.zeros((8, 8), "u1"), Kind(tile=(16, 16), tags={322: (24,)}), "blocks of 24 x 16"),
    ],
)
def test_what_would_be_read_wrongly_is_refused_by_name(samples: npt.NDArray[Any], kind: Kind, says: str) -> None:
    data = write(samples, kind)
    for read in (decode, read_header):
        with pytest.raises(InvalidArgumentError, match=says) as caught:
            read(data)
        assert caught.value.field == "image"


def test_samples_that_would_take_too_much_memory_are_refused() -> None:
    tags = {256: (6000,), 257: (6000,), 278: (6000,), 279: (10,)}
    data = write(np.zeros((8, 8, 4), "f4"), Kind(deflate=True, tags=tags, rows=8))
    with pytest.raises(InvalidArgumentError, match="MiB of samples"):
        decode(data)


@pytest.mark.parametrize("kind", [Kind(), Kind(tile=(16, 32)), Kind(planar=True), Kind(deflate=True)], ids=str)
def test_missing_blocks_are_not_left_black(kind: Kind) -> None:
    whole = write((SHARES * 65535).astype("u2"), kind)
    offsets, counts = (324, 325) if kind.tile else (273, 279)
    for tags in ({offsets: (8,)}, {counts: (5,), 259: (8,)}, {offsets: (1 << 30,)}):
        changed = Kind(**{**vars(kind), "tags": {}})
        data = _replace(whole, changed, tags)
        with pytest.raises(InvalidArgumentError, match="broken or truncated"):
            decode(data)


def _replace(data: bytes, kind: Kind, tags: dict[int, tuple[int, ...]]) -> bytes:
    """The same file with other values for some tags."""
    from serving.images.tiff.directory import read_directory
    from serving.images.tiff.directory import write as rewrite

    return rewrite(data, read_directory(data), tags)
