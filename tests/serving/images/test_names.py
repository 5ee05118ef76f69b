"""A format that is not read is named, with what to do."""

from __future__ import annotations

import struct

import pytest

from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from serving.images.header import read_header
from serving.images.names import format_name


def heif(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I4s", 8 + len(body), b"ftyp") + body + bytes(100)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (heif(b"crx "), "Canon raw"),
        (heif(b"isom", b"mp42"), "film"),
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(50), "JPEG 2000"),
        (b"8BPS\0\x01" + bytes(50), "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\1\0\1\0", "icon"),
    ],
)
@pytest.mark.parametrize("read", [decode, read_header])
def test_formats_that_are_not_read(data: bytes, name: str, read: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"the format {name}, which is not read; send it as JPEG, PNG"):
        read(data)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        ((b"heic", b"mif1", b"heic"), "HEIC"),
        ((b"mif1", b"mif1", b"heix"), "HEIC"),
        ((b"mif1", b"mif1", b"avif", b"miaf"), "AVIF"),
        ((b"avif", b"avif", b"mif1"), "AVIF"),
        ((b"msf1", b"msf1", b"hevc"), "HEIC"),
        ((b"mif1", b"mif1"), "HEIF"),
    ],
)
def test_brands_of_phones(brands: tuple[bytes, ...], name: str) -> None:
    assert format_name(heif(*brands)) == name


def test_what_is_nothing_known_has_no_name() -> None:
    assert format_name(b"") is format_name(b"hello") is format_name(bytes(100)) is None
