"""Whatever the bytes, decoding ends in pixels or in one kind of error."""

from __future__ import annotations

import contextlib
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from serving.images.header import read_header
from tests.processes import ROOT
from tests.serving.images import icc
from tests.serving.images.files import encode, photo
from tests.serving.images.tiff.files import Kind, write

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
T = TypeVar("T")
MAX_MEGAPIXELS = 4.0
"""Low, so that a mutated header cannot make honest decoding slow."""


def _seeds() -> Iterator[bytes]:
    image = Image.fromarray(photo())
    exif = Image.Exif()
    exif[0x0112] = 6
    for format_ in ("JPEG", "PNG", "WEBP", "TIFF"):
        yield encode(image, format_, exif=exif)
    yield encode(image, "BMP")
    yield encode(image, "GIF")
    yield encode(image, "JPEG", progressive=True)
    yield encode(image.convert("CMYK"), "JPEG")
    yield encode(image.convert("RGBA"), "WEBP", lossless=True)
    yield encode(image.quantize(16), "PNG", transparency=3)
    yield encode(Image.fromarray(np.asarray(image.convert("L"), np.uint16) << 8), "PNG")
    for compression in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate"):
        yield encode(image, "TIFF", compression=compression)
    yield encode(image.convert("1"), "TIFF", compression="group4")
    yield encode(image, "GIF", save_all=True, append_images=[image.rotate(90)])
    yield encode(image, "WEBP", save_all=True, append_images=[image.rotate(90)])
    profile = icc.rgb_profile(icc.SRGB, 1.0)
    for format_ in ("JPEG", "PNG", "WEBP", "TIFF"):
        yield encode(image, format_, icc_profile=profile)
    yield encode(image.convert("L"), "PNG", icc_profile=icc.grey_profile(1.0))
    yield encode(image, "JPEG", progressive=True)[:-2]
    floats, deep = (photo() / 255).astype(np.float32), photo().astype(np.uint16) * 257
    yield write(deep, Kind(">", big=True, planar=True, tile=(16, 16), deflate=True, predictor=2))
    yield write(floats, Kind(deflate=True, predictor=3))
    yield write(floats.astype(np.float64)[..., 1], Kind(">", tile=(16, 32)))
    yield write(photo().astype(np.uint16), Kind(bits=12))
    yield write(photo()[..., :2], Kind(photometric=0, tags={338: (1,)}))


SEEDS = tuple(_seeds())

mutations = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 1 << 16), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, 1 << 16), st.just(0)),
        st.tuples(st.just("repeat"), st.integers(0, 1 << 16), st.integers(1, 64)),
        st.tuples(st.just("drop"), st.integers(0, 1 << 16), st.integers(1, 64)),
        st.tuples(st.just("splice"), st.integers(0, 1 << 16), st.integers(0, len(SEEDS) - 1)),
        st.tuples(st.just("fill"), st.integers(0, 1 << 16), st.integers(0, 255)),
    ),
    min_size=1,
    max_size=8,
)


def mutate(data: bytes, steps: list[tuple[str, int, int]]) -> bytes:
    """Damages `data` step by step; headers, at the front, are hit as often as pixels."""
    for kind, where, amount in steps:
        if not data:
            return data
        at = where % len(data) if where % 2 else where % min(len(data), 128)
        if kind == "flip":
            data = data[:at] + bytes([data[at] ^ amount]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "repeat":
            data = data[:at] + data[at : at + amount] * 4 + data[at:]
        elif kind == "drop":
            data = data[:at] + data[at + amount :]
        elif kind == "splice":
            other = SEEDS[amount]
            data = data[:at] + other[min(at, len(other) - 1) :]
        else:
            data = data[:at] + bytes([amount]) * 4 + data[at + 4 :]
    return data


def outcome(read: Callable[[bytes, float], T], data: bytes) -> T | None:
    """What `read` returns; None where it raises the one error about the image."""
    with contextlib.suppress(InvalidArgumentError):
        return read(data, MAX_MEGAPIXELS)
    return None


def check(data: bytes) -> None:
    """The property: pixels, or the one error. The header agrees with the decoder."""
    header = outcome(read_header, data)
    pixels = outcome(decode, data)
    if header is None:
        assert pixels is None
    if header is None or pixels is None:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert sorted(pixels.shape[:2]) == sorted((header.width, header.height))


quick = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


@quick
@given(st.binary(max_size=2000))
def test_random_bytes(data: bytes) -> None:
    check(data)


@quick
@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]), st.binary())
def test_random_bytes_behind_a_good_beginning(magic: bytes, data: bytes) -> None:
    check(magic + data)


@pytest.mark.parametrize("seed", SEEDS, ids=[f"{i}-{s[:4]!r}" for i, s in enumerate(SEEDS)])
def test_damaged_files(seed: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(quick, max_examples=120)
    @given(mutations)
    def damaged(steps: list[tuple[str, int, int]]) -> None:
        check(mutate(seed, steps))

    damaged()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300


def damage(number: int) -> bytes:
    """A damaged file, the same for the same number."""
    chance, steps = random.Random(number), []
    for _ in range(chance.randint(1, 6)):
        kind = chance.choice(("flip", "cut", "repeat", "drop", "splice", "fill"))
        amount = chance.randrange(len(SEEDS)) if kind == "splice" else chance.randint(0, 64)
        steps.append((kind, chance.randrange(1 << 16), amount))
    return mutate(SEEDS[number % len(SEEDS)], steps)


@pytest.mark.slow
def test_nothing_that_is_read_is_written_to_standard_error() -> None:
    """C libraries have their own ways to warn; every one that is seen would fill a service's logs."""
    program = (
        "from tests.serving.images.test_fuzz import check, damage\n"
        "for number in range(1500):\n    check(damage(number))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
