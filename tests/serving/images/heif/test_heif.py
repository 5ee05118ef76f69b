"""HEIC and AVIF: the size from the header, the pixels from a process that may die."""

from __future__ import annotations

import contextlib
import importlib.util
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from serving.images.header import read_header
from serving.images.heif import process
from serving.images.heif.boxes import canvas
from tests.serving.images import icc
from tests.serving.images.files import encode, photo
from tests.serving.images.heif.files import TURNED, grid
from tests.serving.scarce import spare_threads

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
needs_heic = pytest.mark.skipif(importlib.util.find_spec("pi_heif") is None, reason="pip install ferry[heif]")


def avif(image: Image.Image | None = None, **options: object) -> bytes:
    return encode(image or Image.fromarray(photo()), "AVIF", quality=95, subsampling="4:4:4", **options)


def difference(pixels: np.ndarray, expected: np.ndarray) -> float:
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(int) - expected).mean())


@needs_heic
def test_heic() -> None:
    header = read_header(TURNED)
    assert (header.format, header.width, header.height) == ("HEIC", 64, 64)  # 48 x 32 of it are shown
    assert difference(decode(TURNED, heif=True), np.rot90(photo(), -1)) < 3


@needs_heic
def test_heic_in_tiles_as_phones_write_it() -> None:
    data = grid(4, 3)
    header = read_header(data)
    assert (header.format, header.width, header.height) == ("HEIC", 2048, 1536)
    teal = np.full((1536, 2048, 3), (0, 128, 128), np.uint8)
    assert difference(decode(data, heif=True), teal) < 3


@needs_heic
@pytest.mark.parametrize("says", [(64, 64), (1024, 512), (6000, 6000)])
def test_tiles_that_make_another_size_than_the_header_says_are_refused(says: tuple[int, int]) -> None:
    assert read_header(grid(4, 3, says=says)).width == says[0]
    with pytest.raises(InvalidArgumentError, match="broken or truncated HEIC"):
        decode(grid(4, 3, says=says), heif=True)


@needs_avif
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_avif(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = avif(exif=exif)
    header = read_header(data)
    assert (header.format, header.width, header.height) == ("AVIF", 48, 32)
    turns = {1: 0, 3: 2, 6: -1}
    assert difference(decode(data, heif=True), np.rot90(photo(), turns[orientation])) < 2


@needs_avif
def test_an_orientation_of_avif_that_is_no_number_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker of a camera"
    data = avif(exif=exif)
    text = data.replace(b"\x01\x0f\0\x02", b"\x01\x12\0\x02").replace(b"\x0f\x01\x02\0", b"\x12\x01\x02\0")
    assert text != data
    assert difference(decode(text, heif=True), photo()) < 2


@needs_avif
def test_avif_with_transparency_and_profile() -> None:
    image = Image.fromarray(photo())
    image.putalpha(128)
    assert difference(decode(avif(image), heif=True), (photo() * (128 / 255) + 127).astype(int)) < 3
    muted = (96 + photo().astype(int) // 3).astype(np.uint8)
    data = avif(Image.fromarray(muted), icc_profile=icc.rgb_profile(icc.SRGB, 1.0))
    assert difference(decode(data, heif=True), icc.meant(muted, icc.SRGB, 1.0).astype(int)) < 3


@needs_avif
def test_without_being_switched_on_it_is_refused_by_name() -> None:
    for data, name in ((avif(), "AVIF"), (TURNED, "HEIC")):
        with pytest.raises(InvalidArgumentError, match=f"is {name}, which is not switched on here; send it as JPEG"):
            decode(data)


@needs_heic
def test_a_file_that_crashes_the_decoder_is_refused() -> None:
    """One byte of the list of properties: libheif 1.23 reads where nothing is."""
    data = bytearray(TURNED)
    data[176] = 189
    with pytest.raises(InvalidArgumentError, match="broken or truncated HEIC"):
        decode(bytes(data), heif=True)
    assert decode(TURNED, heif=True).shape == (48, 32, 3)


@needs_avif
def test_size_is_checked_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_run", lambda *_: pytest.fail("started a decoder"))
    with pytest.raises(InvalidArgumentError, match="48 x 32 pixels, more than"):
        decode(avif(), 0.001, heif=True)
    with pytest.raises(InvalidArgumentError, match="broken or truncated AVIF"):
        decode(avif()[:60], heif=True)


@needs_avif
def test_a_picture_is_never_larger_than_its_header_says() -> None:
    data = avif()
    at = data.index(b"ispe") + 8
    lying = data[:at] + struct.pack(">II", 8, 8) + data[at + 8 :]
    assert canvas(lying) == (8, 8)
    with contextlib.suppress(InvalidArgumentError):
        assert decode(lying, heif=True).shape == (8, 8, 3)  # libavif makes it fit


@needs_avif
def test_what_the_header_says_bounds_what_a_stream_of_another_size_takes() -> None:
    """The decoder makes the whole of it before it makes it fit: 40 megapixels of a colour are a kilobyte."""
    large = struct.pack(">II", 8000, 5000)
    data = encode(Image.new("RGB", (8000, 5000), "teal"), "AVIF", quality=1, speed=10, subsampling="4:4:4")
    lying = data.replace(large, struct.pack(">II", 64, 64))
    assert len(lying) < 2000
    assert process.process_bytes(64 * 64) < 80 << 20
    with pytest.raises(InvalidArgumentError, match="broken or truncated AVIF"):
        decode(lying, heif=True)


@needs_avif
def test_the_process_may_not_take_more_memory_than_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "RESERVE_BYTES", 0)
    with pytest.raises(InvalidArgumentError, match="broken or truncated AVIF"):
        decode(avif(), heif=True)


HANGS = "import time\ntime.sleep(600)\n"
STAYS = "import os, sys, time\nsys.stdout.buffer.write({!r})\nsys.stdout.flush()\nos.close(1)\ntime.sleep(600)\n"


@needs_avif
@pytest.mark.parametrize(
    ("text", "seconds"),
    [(HANGS, 0.2), (STAYS.format(struct.pack(">4sIIII", b"RGB ", 8, 8, 1, 0) + bytes(192)), 0.5)],
    ids=["hangs", "has answered and stays"],
)
def test_a_decoder_that_does_not_end_is_ended(
    text: str, seconds: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(text)
    monkeypatch.setattr(process, "_PROGRAM", program)
    monkeypatch.setattr(process, "WALL_SECONDS", seconds)
    started = time.monotonic()
    with pytest.raises(InvalidArgumentError, match="broken or truncated AVIF"):
        decode(avif(), heif=True)
    assert time.monotonic() - started < 60


@needs_avif
def test_a_picture_needs_no_thread() -> None:
    with spare_threads():
        assert difference(decode(avif(), heif=True), photo()) < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"RGB ",
        struct.pack(">4sIIII", b"RGB ", 1 << 31, 1 << 31, 1, 0),
        struct.pack(">4sIIII", b"RGB ", 8, 8, 1, 1 << 31),
        struct.pack(">4sIIII", b"HSV ", 8, 8, 1, 0) + bytes(192),
        struct.pack(">4sIIII", b"RGB ", 8, 8, 1, 0) + bytes(100),
        struct.pack(">4sIIII", b"RGB ", 8, 8, 1, 0) + bytes(193),
    ],
)
@needs_avif
def test_what_the_process_answers_is_not_believed(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "lies.py"
    program.write_text(f"import sys\nsys.stdout.buffer.write({answer!r})\n")
    monkeypatch.setattr(process, "_PROGRAM", program)
    with pytest.raises(InvalidArgumentError, match="broken or truncated AVIF"):
        decode(avif(), heif=True)


def test_boxes_of_any_bytes_end_in_a_size_or_none() -> None:
    random = np.random.default_rng(0)
    for _ in range(3000):
        data = bytearray(TURNED)
        for at in random.integers(0, 500, random.integers(1, 8)):
            data[at] = random.choice((0, 1, 255, random.integers(0, 256)))
        size = canvas(bytes(data[: random.integers(1, len(data))]))
        assert size is None or min(size) >= 0
