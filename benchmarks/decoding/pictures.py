"""Generated pictures of every kind that a caller can send, of any size, as few bytes as they can be.

One colour fills each picture: memory follows from what the header says and not from what is seen, and a file of a few
hundred bytes is what a hostile caller would send.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

from PIL import Image

Make = Callable[[int, int, int], bytes]
"""Width and height in pixels as stored, and EXIF orientation 1 to 8, to a file."""

_ORIENTATION = 0x0112
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""PNG, third edition, section 8.2: first column, first row, step across, step down of each pass."""


def _pillow(format_: str, mode: str, **options: Any) -> Make:
    def make(width: int, height: int, orientation: int) -> bytes:
        image = Image.new(mode, (width, height), 0)
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        file = io.BytesIO()
        more = {"exif": exif} if orientation != 1 else {}
        image.save(file, format_, **(options | more))
        return file.getvalue()

    return make


def _animated(format_: str, mode: str, **options: Any) -> Make:
    def make(width: int, height: int, orientation: int) -> bytes:
        frames = [Image.new(mode, (width, height), colour) for colour in (0, 1)]
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        more = {"exif": exif} if orientation != 1 else {}
        file = io.BytesIO()
        frames[0].save(file, format_, save_all=True, append_images=frames[1:], **(options | more))
        return file.getvalue()

    return make


def _png(bits: int, colour: int, channels: int, *, interlaced: bool = False) -> Make:
    """What Pillow does not write: sixteen bits a channel, and interlaced files."""

    def make(width: int, height: int, orientation: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
        packer, data = zlib.compressobj(9), []
        for x, y, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(width - x) // across), -(-(height - y) // down)
            if columns > 0 and rows > 0:
                row = bytes(1 + -(-columns * bits * channels // 8))
                data += [packer.compress(row) for _ in range(rows)]
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        chunks = [(b"IHDR", header), (b"eXIf", exif.tobytes()[6:]), (b"IDAT", b"".join([*data, packer.flush()]))]
        body = b"".join(
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in [*chunks, (b"IEND", b"")]
        )
        return b"\x89PNG\r\n\x1a\n" + body

    return make


def _tiff(bits: int, channels: int, photometric: int, *, tile: int = 0, planar: bool = False, alpha: int = 2) -> Make:
    """Deflated, in one strip, or in tiles of `tile` pixels; of two planes or more all share one piece of the file."""

    def make(width: int, height: int, orientation: int) -> bytes:
        columns, rows = (tile, tile) if tile else (width, height)
        pieces = -(-width // columns) * -(-height // rows) * (channels if planar else 1)
        packer = zlib.compressobj(9)
        row = bytes(-(-columns * bits * (1 if planar else channels) // 8))
        piece = b"".join([*(packer.compress(row) for _ in range(rows)), packer.flush()])
        tags = {
            256: (4, [width]),
            257: (4, [height]),
            258: (3, [bits] * channels),
            259: (3, [8]),
            262: (3, [photometric]),
            274: (3, [orientation]),
            277: (3, [channels]),
            284: (3, [2 if planar else 1]),
        }
        if channels in {2, 4} and photometric < 5:
            tags[338] = (3, [alpha])
        at, size = (324, 325) if tile else (273, 279)
        tags |= {322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [height])}
        start = 8 + 2 + 12 * (len(tags) + 2) + 4
        tags |= {at: (4, [0] * pieces), size: (4, [len(piece)] * pieces)}
        apart = sum(_bytes(kind, values) for kind, values in tags.values())
        tags[at] = (4, [start + apart] * pieces)
        directory, values_apart = b"", b""
        for tag, (kind, values) in sorted(tags.items()):
            packed = b"".join(struct.pack("<I" if kind == 4 else "<H", value) for value in values)
            if len(packed) > 4:
                packed, values_apart = struct.pack("<I", start + len(values_apart)), values_apart + packed
            directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + values_apart + piece

    return make


def _bytes(kind: int, values: list[int]) -> int:
    """Bytes that values take outside the directory."""
    length = len(values) * (4 if kind == 4 else 2)
    return length if length > 4 else 0


def _bmp_rle(width: int, height: int, orientation: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 2835, 2835, 2, 0)
    row = b"\xff\0" * (width // 255) + (bytes([width % 255, 0]) if width % 255 else b"") + b"\0\0"
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 62) + info + bytes(8) + row * height + b"\0\1"


def _without_end(make: Make) -> Make:
    return lambda width, height, orientation: make(width, height, orientation)[:-2]


KINDS: dict[str, Make] = {
    "JPEG grey": _pillow("JPEG", "L"),
    "JPEG": _pillow("JPEG", "RGB"),
    "JPEG 4:2:2": _pillow("JPEG", "RGB", subsampling=1),
    "JPEG 4:4:4": _pillow("JPEG", "RGB", subsampling=0),
    "JPEG CMYK": _pillow("JPEG", "CMYK"),
    "JPEG progressive grey": _pillow("JPEG", "L", progressive=True),
    "JPEG progressive": _pillow("JPEG", "RGB", progressive=True),
    "JPEG progressive 4:4:4": _pillow("JPEG", "RGB", progressive=True, subsampling=0, quality=30),
    "JPEG progressive CMYK": _pillow("JPEG", "CMYK", progressive=True, quality=30),
    "JPEG without its end": _without_end(_pillow("JPEG", "RGB")),
    "JPEG progressive, without its end": _without_end(_pillow("JPEG", "RGB", progressive=True)),
    "PNG 1 bit": _pillow("PNG", "1"),
    "PNG grey": _pillow("PNG", "L"),
    "PNG grey, alpha": _pillow("PNG", "LA"),
    "PNG palette": _pillow("PNG", "P"),
    "PNG palette, alpha": _pillow("PNG", "P", transparency=b"\x80\x40"),
    "PNG": _pillow("PNG", "RGB"),
    "PNG colour key": _pillow("PNG", "RGB", transparency=(1, 2, 3)),
    "PNG alpha": _pillow("PNG", "RGBA"),
    "PNG alpha, interlaced": _png(8, 6, 4, interlaced=True),
    "PNG 16 bit grey": _pillow("PNG", "I;16"),
    "PNG 16 bit grey, interlaced": _png(16, 0, 1, interlaced=True),
    "PNG 16 bit": _png(16, 2, 3),
    "PNG 16 bit, alpha": _png(16, 6, 4),
    "PNG animated": _animated("PNG", "RGBA", disposal=1, blend=1),
    "WebP": _pillow("WEBP", "RGB"),
    "WebP alpha": _pillow("WEBP", "RGBA"),
    "WebP lossless": _pillow("WEBP", "RGB", lossless=True),
    "WebP lossless, alpha": _pillow("WEBP", "RGBA", lossless=True, exact=True),
    "WebP animated": _animated("WEBP", "RGBA", lossless=True),
    "BMP 1 bit": _pillow("BMP", "1"),
    "BMP grey": _pillow("BMP", "L"),
    "BMP run lengths": _bmp_rle,
    "BMP": _pillow("BMP", "RGB"),
    "BMP alpha": _pillow("BMP", "RGBA"),
    "GIF": _pillow("GIF", "P"),
    "GIF transparent": _pillow("GIF", "P", transparency=0, disposal=2),
    "GIF animated": _animated("GIF", "P", disposal=2, transparency=1),
    "TIFF grey": _pillow("TIFF", "L"),
    "TIFF": _pillow("TIFF", "RGB"),
    "TIFF alpha": _pillow("TIFF", "RGBA"),
    "TIFF 16 bit grey": _pillow("TIFF", "I;16"),
    "TIFF 32 bit grey": _pillow("TIFF", "I"),
    "TIFF float": _pillow("TIFF", "F"),
    "TIFF deflate float": _pillow("TIFF", "F", compression="tiff_deflate"),
    "TIFF deflate grey, strip": _tiff(8, 1, 1),
    "TIFF deflate, strip": _tiff(8, 3, 2),
    "TIFF deflate alpha, strip": _tiff(8, 4, 2),
    "TIFF deflate CMYK, strip": _tiff(8, 4, 5),
    "TIFF deflate 16 bit, strip": _tiff(16, 3, 2),
    "TIFF deflate 16 bit alpha, strip": _tiff(16, 4, 2),
    "TIFF deflate grey alpha, strip": _tiff(8, 2, 1),
    "TIFF deflate associated alpha, strip": _tiff(8, 4, 2, alpha=1),
    "TIFF deflate 12 bit, strip": _tiff(12, 3, 2),
    "TIFF deflate 16 bit planes": _tiff(16, 3, 2, planar=True),
    "TIFF deflate planes": _tiff(8, 3, 2, planar=True),
    "TIFF deflate, tiles": _tiff(8, 3, 2, tile=256),
    "TIFF LZW": _pillow("TIFF", "RGB", compression="tiff_lzw"),
    "TIFF JPEG": _pillow("TIFF", "RGB", compression="jpeg"),
    "TIFF fax": _pillow("TIFF", "1", compression="group4"),
}
"""By a name that begins with the format."""
TURNED = ("JPEG", "PNG", "WebP", "TIFF")
"""Formats that store an orientation."""


def every(
    width: int, height: int, orientations: tuple[int, ...] = (1, 6), kinds: Collection[str] = KINDS.keys()
) -> Iterator[tuple[str, int, bytes]]:
    """Name of the kind, orientation and file of every picture at this size, of these kinds."""
    for name, make in ((name, make) for name, make in KINDS.items() if name in kinds):
        for orientation in orientations:
            if orientation == 1 or name.startswith(TURNED):
                yield name, orientation, make(width, height, orientation)
