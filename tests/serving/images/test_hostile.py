"""Files made to hurt: each is refused with a clear error, in little time and memory."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from serving.images.header import read_header
from serving.images.jpeg_bare import bare
from tests.processes import ROOT
from tests.serving.images import files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
MB = 1 << 20
HUGE = 65_000

TILES = [(322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 1, 8), (325, 4, 1, 1)]
"""Tags of a TIFF: one tile of 16 x 16 pixels, at byte 8."""

BOMBS: dict[str, tuple[bytes, str]] = {
    "PNG header": (files.png_header(HUGE, HUGE), "65000 x 65000"),
    "JPEG header": (files.jpeg_header(HUGE, HUGE), "65000 x 65000"),
    "GIF screen": (files.gif_header(HUGE, HUGE), "65000 x 65000"),
    "GIF frame beyond its screen": (files.gif_header(1, 1, frame=(HUGE, HUGE)), "65000 x 65000"),
    "BMP header": (files.bmp_header(HUGE, HUGE), "65000 x 65000"),
    "BMP header upside down": (files.bmp_header(HUGE, -HUGE), "65000 x 65000"),
    "TIFF header": (files.tiff(files.tiff_tags(HUGE, HUGE)), "65000 x 65000"),
    "WebP canvas": (files.webp_header(HUGE, HUGE), "65000 x 65000"),
    "WebP lossless": (files.webp_header(16384, 16384, b"VP8L"), "16384 x 16384"),
    "WebP lossy": (files.webp_header(16383, 16383, b"VP8 "), "16383 x 16383"),
    "PNG of 100 megapixels in 300 kB": (files.png_bomb(10_000, 10_000), "more than 40 megapixels"),
    "PNG of width 2^31": (files.png_header(0x7FFFFFFF, 1), "2147483647 x 1"),
    "TIFF of 2^32 pixels a side": (files.tiff(files.tiff_tags(0xFFFFFFFF, 0xFFFFFFFF)), "image"),
    "GIF comments": (files.with_gif_comments(9 * MB // 5), "blocks before its first frame"),
    "JPEG segments": (files.with_jpeg_segments(b"\xff\xe5\0\x02", 9 * MB // 4), "segments"),
    "JPEG fill bytes": (files.with_jpeg_segments(b"\xff", 9 * MB), "segments"),
    "JPEG EXIF segments": (files.with_jpeg_segments(b"\xff\xe1\0\x09Exif\0\0a", 9 * MB // 11), "EXIF segments"),
    "JPEG scans": (files.with_jpeg_scans(5_000), "scans"),
    "JPEG scans of a large picture": (files.jpeg_scans(6300, 6300, 21), "more than 20 scans"),
    "JPEG Photoshop resources": (
        files.with_jpeg_segments(b"\xff\xed\x27\x20Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 833 + bytes(4), 10),
        "Photoshop resources",
    ),
    "BMP lines that end at once": (files.bmp_run_lengths(39_000_000, 1, b"\1\1\0\0"), "run lengths"),
    "BMP lines that are full": (files.bmp_run_lengths(300, 300, b"\xff\1" * (3 * MB)), "run lengths"),
    "JPEG tables": (files.with_jpeg_segments(b"\xff\xdb\xff\x69" + bytes(0xFF67), 150), "bytes of tables"),
    "PNG chunks": (files.with_png_chunks(9 * MB // 12), "chunks"),
    "PNG empty pixel chunks": (files.with_png_chunks(9 * MB // 12, b"IDAT"), "chunks"),
    "TIFF tags": (files.tiff(files.tiff_tags(32, 32) + [(1000 + i, 4, 1, 0) for i in range(60_000)]), "tags"),
    "TIFF strips": (
        files.tiff([t for t in files.tiff_tags(32, 32) if t[0] != 273] + [(273, 4, 2_000_000, 200)], bytes(8 * MB)),
        "values in a tag",
    ),
    "TIFF strips told in bytes": (
        files.tiff([t for t in files.tiff_tags(32, 32) if t[0] != 273] + [(273, 1, 8 * MB, 200)], bytes(9 * MB)),
        "values in a tag",
    ),
    "TIFF of more strips than it names": (
        files.tiff([t for t in files.tiff_tags(1, 39_000_000) if t[0] != 278] + [(278, 4, 1, 1)]),
        "broken or truncated",
    ),
    "TIFF of more tiles than it names": (
        files.tiff([t for t in files.tiff_tags(6_000, 6_000) if t[0] not in {273, 278, 279}] + TILES),
        "broken or truncated",
    ),
    "TIFF of a beginning that Pillow alone knows": (
        b"II\0*" + files.tiff(files.tiff_tags(32, 32) + [(1000 + i, 2, MB, 200) for i in range(60_000)], bytes(MB))[4:],
        "is not a readable",
    ),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("data", "says"), BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("read", [read_header, decode])
def test_bombs_are_refused_before_they_cost_anything(read: Callable[[bytes], object], data: bytes, says: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        read(data)
    assert caught.value.field == "image"
    assert len(caught.value.message) < 200
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0" * 1000,
        b"hello, I am an image",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"GIF89a" + b"\0" * 7,
        b"BM",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0+\0\x08\0\0" + b"\xff" * 8,
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8X",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"8BPS\0\x01" + b"\0" * 100,
        b"P6 9 9 255\n" + b"\0" * 300,
        b"\x00\x00\x00\x1cftypavif",
        files.png_header(0, 0),
        files.gif_header(0, 0, (0, 0)),
        files.webp_header(1, 1, b"VP8L"),
        np.random.default_rng(0).bytes(100_000),
    ],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        decode(data)
    assert caught.value.field == "image"


def test_text_of_a_png_is_never_unpacked() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.testing.assert_array_equal(decode(files.png_text_bomb(200 * MB)), files.photo())
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100


def exif_of_fractions(count: int) -> bytes:
    """An orientation of so many fractions."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 5, count, 26, 0) + b"\1\0\0\0\1\0\0\0" * count


@pytest.mark.timeout(20)
@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_no_objects_are_made_of_the_values_of_metadata(format_: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = Image.fromarray(files.photo())
    data = files.encode(
        image, format_, exif=exif_of_fractions(1_200_000), **({"lossless": True} if format_ == "WEBP" else {})
    )
    np.testing.assert_array_equal(decode(data), files.photo())
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 150


@pytest.mark.timeout(20)
@pytest.mark.parametrize("marker", [0xF0, 0xFD, 0xC8])
@pytest.mark.parametrize("hidden", [b"\xff\xe1\0\x09Exif\0\0a" * (65_533 // 11), bytes(65_000)])
def test_what_a_jpeg_hides_in_extensions_is_not_looked_for(marker: int, hidden: bytes) -> None:
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(hidden) + 2) + hidden
    data = files.with_jpeg_segments(segment, 9 * MB // len(segment))
    plain = files.with_jpeg_segments(b"", 0)
    assert bare(data)[0] == bare(plain)[0]
    np.testing.assert_array_equal(decode(data), decode(plain))


def test_warnings_about_odd_tags_do_not_fill_the_log() -> None:
    tags = files.tiff_tags(4, 4) + [(1000 + i, 4, 60_000, 8) for i in range(500)]
    program = (
        "import sys; from serving.images.header import read_header; print(read_header(sys.stdin.buffer.read()).width)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=files.tiff(tags, bytes(100)), capture_output=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == b"4"
    assert done.stderr == b""


def test_many_honest_pieces_are_no_bomb() -> None:
    """Colour profiles and thumbnails of several segments, small pixel chunks, many strips."""
    pixels = files.photo()
    profile = bytes(500_000)
    for data in (
        files.encode(Image.fromarray(pixels), "JPEG", icc_profile=profile, quality=95),
        files.encode(Image.fromarray(pixels), "JPEG", progressive=True, quality=95),
        files.with_gif_comments(100),
        files.with_jpeg_segments(b"\xff\xe5\0\x02", 100),
        files.with_jpeg_scans(20),
        files.with_png_chunks(200),
        files.encode(Image.new("RGB", (4, 4096)), "TIFF", strip_size=4),
    ):
        assert decode(data).ndim == 3
