"""Image files for tests, honest and hostile."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def photo(width: int = 48, height: int = 32) -> Pixels:
    """Smooth colours, different in every corner, uint8 [height, width, 3]; lossy formats keep them well."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), 255 - (x + y) * 255 / (width + height))
    return np.stack(planes, axis=2).astype(np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and then ends in a little pixel data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 64))


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    scan = b"\xff\xda\x00\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0" + b"\0" * 32
    return b"\xff\xd8\xff\xc0" + frame + scan + b"\xff\xd9"


def jpeg_scans(width: int, height: int, count: int) -> bytes:
    """Progressive, of one component, with so many scans without content."""
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\0"
    return b"\xff\xd8\xff\xc2" + frame + b"\xff\xda\0\x08\x01\x01\0\0\0\0\0" * count + b"\xff\xd9"


def gif_header(width: int, height: int, frame: tuple[int, int] | None = None) -> bytes:
    """Disposal to background, for which decoders like to allocate the whole screen."""
    screen = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    image = b"!\xf9\x04\x09\0\0\0\0," + struct.pack("<HHHH", 0, 0, *(frame or (width, height)))
    return screen + image + b"\0\x02\x02\x44\x01\0;"


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 64, 0, 0, 54) + info + b"\0" * 10


def bmp_run_lengths(width: int, height: int, body: bytes) -> bytes:
    """Of 8 bits, with a palette of two colours; `body`: pairs of a length and a colour, or escapes."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 2835, 2835, 2, 0)
    return b"BM" + struct.pack("<IHHI", 62 + len(body), 0, 0, 62) + info + bytes(8) + body


def tiff(tags: list[tuple[int, int, int, int]], payload: bytes = b"") -> bytes:
    """Little-endian TIFF of one directory; tags are (tag, type, count, value)."""
    directory = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + struct.pack("<I", 0) + payload


def tiff_tags(width: int, height: int, compression: int = 1) -> list[tuple[int, int, int, int]]:
    """Grey, 8 bits, one strip at the start of the file."""
    fields = {
        256: width,
        257: height,
        258: 8,
        259: compression,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: width * height,
    }
    return [(tag, 4, 1, value & 0xFFFFFFFF) for tag, value in fields.items()]


def webp_header(width: int, height: int, kind: bytes = b"VP8X") -> bytes:
    if kind == b"VP8X":
        chunk = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        chunk = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    else:
        chunk = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    body = kind + struct.pack("<I", len(chunk)) + chunk + b"\0" * (len(chunk) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def png_bomb(width: int, height: int) -> bytes:
    """A honest PNG of one colour: megapixels in kilobytes."""
    packer = zlib.compressobj(9)
    row = b"\0" * (width * 3 + 1)
    data = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_text_bomb(size: int) -> bytes:
    """A small picture with `size` bytes of compressed text."""
    picture = encode(Image.fromarray(photo()), "PNG")
    return picture[:33] + png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(size), 9)) + picture[33:]


def with_gif_comments(count: int) -> bytes:
    picture = encode(Image.new("RGB", (8, 8)), "GIF")
    start = 13 + (3 * (2 << (picture[10] & 7)) if picture[10] & 0x80 else 0)
    return picture[:start] + b"!\xfe\x01a\0" * count + picture[start:]


def with_jpeg_segments(segment: bytes, count: int) -> bytes:
    picture = encode(Image.fromarray(photo()), "JPEG")
    return picture[:2] + segment * count + picture[2:]


def with_jpeg_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    picture = encode(Image.fromarray(photo()), "JPEG", progressive=True)
    last = picture[picture.rindex(b"\xff\xda") : -2]
    return picture[:-2] + last * count + b"\xff\xd9"


def with_png_chunks(count: int, kind: bytes = b"prVt") -> bytes:
    picture = encode(Image.fromarray(photo()), "PNG")
    return picture[:33] + png_chunk(kind, b"") * count + picture[33:]
