"""One rule for files that end too early: every pixel must be there; what comes behind them may be missing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from tests.serving.images.files import encode, photo, png_chunk

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
EXIF = Image.Exif()
EXIF[0x010E] = "a picture" * 50


def _files() -> Iterator[tuple[str, bytes]]:
    for name, options in {
        "JPEG": {},
        "JPEG progressive": {"progressive": True},
        "JPEG with restarts": {"restart_marker_rows": 1},
        "JPEG with whole colours": {"subsampling": 0, "optimize": True},
        "PNG": {},
        "WEBP": {},
        "WEBP lossless": {"lossless": True},
        "WEBP with metadata behind it": {"exif": EXIF},
        "WEBP animation": {"save_all": True, "append_images": [NOISE.rotate(90)]},
        "BMP": {},
        "GIF": {},
        "GIF interlaced": {"interlace": 1},
        "GIF animation": {"save_all": True, "append_images": [NOISE.rotate(90)]},
        "TIFF": {},
        "TIFF LZW": {"compression": "tiff_lzw"},
        "TIFF Deflate": {"compression": "tiff_adobe_deflate"},
        "TIFF PackBits": {"compression": "packbits"},
        "TIFF JPEG": {"compression": "jpeg"},
    }.items():
        yield name, encode(NOISE, name.split()[0], **options)
    yield "JPEG grey", encode(NOISE.convert("L"), "JPEG")
    yield "JPEG CMYK", encode(NOISE.convert("CMYK"), "JPEG")
    yield "PNG palette", encode(NOISE.quantize(16), "PNG")


FILES = dict(_files())


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_is_whole_or_refused(name: str) -> None:
    data = FILES[name]
    whole = decode(data)
    cuts = {*range(1, 40), *(len(data) * step // 60 for step in range(1, 60))}
    accepted = 0
    for cut in sorted(cuts):
        try:
            pixels = decode(data[:-cut])
        except InvalidArgumentError as error:
            assert error.field == "image"  # noqa: PT017
            continue
        np.testing.assert_array_equal(pixels, whole, err_msg=f"{cut} bytes are missing")
        accepted += 1
    assert accepted or name.startswith(("TIFF", "BMP", "WEBP")), "the end marker alone is no reason to refuse"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("JPEG")])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_may_lack_its_end_marker(name: str, cut: int) -> None:
    np.testing.assert_array_equal(decode(FILES[name][:-cut]), decode(FILES[name]))


def test_a_jpeg_may_not_lack_a_scan() -> None:
    data = encode(NOISE, "JPEG", progressive=True)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 3
    for start in starts[1:]:
        with pytest.raises(InvalidArgumentError, match="truncated JPEG"):
            decode(data[:start])


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "LA", "RGBA", "I;16"])
def test_a_png_may_not_lack_rows_behind_a_good_end(mode: str) -> None:
    image = NOISE.quantize(8) if mode == "P" else NOISE.convert(mode)
    data = encode(image, "PNG")
    assert decode(data).shape == (64, 64, 3)
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    rows = zlib.decompress(data[start + 8 : start + 8 + length])
    for share in (0, 0.5, 63 / 64):
        fewer = png_chunk(b"IDAT", zlib.compress(rows[: int(len(rows) * share)]))
        with pytest.raises(InvalidArgumentError, match="truncated PNG"):
            decode(data[:start] + fewer + data[start + 12 + length :])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (9, 1), (3, 3), (5, 2), (16, 8), (17, 23)])
def test_an_interlaced_png_needs_all_its_passes(width: int, height: int) -> None:
    pixels = photo(width, height)
    rows = b""
    for left, across, top, down in (
        *((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4)),
        *((0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
    ):
        part = pixels[top::down, left::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))
    for missing in (0, 1):
        packed = zlib.compress(rows[: len(rows) - missing])
        data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
        if missing:
            with pytest.raises(InvalidArgumentError, match="truncated PNG"):
                decode(data)
        else:
            np.testing.assert_array_equal(decode(data), pixels)


def test_metadata_behind_a_webp_may_be_cut_off() -> None:
    data = FILES["WEBP with metadata behind it"]
    for cut in (1, 100, 300):
        np.testing.assert_array_equal(decode(data[:-cut]), decode(data))
