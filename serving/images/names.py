"""What a file is, by its first bytes; also of formats that Ferry does not read, so that an error can name them."""

from __future__ import annotations

_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC",
    b"hevc": "HEIC", b"hevx": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"crx ": "Canon raw",
}  # fmt: skip
"""Brands of ISO/IEC 23008-12 (HEIF), annex B, and of AV1 Image File Format; other brands are films."""
_BEGINNINGS = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"<svg", "SVG"),
    (b"\0\0\1\0", "icon"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (b"\x1aE\xdf\xa3", "Matroska film"),
    (b"PK\3\4", "ZIP archive"),
    (b"<!DOCTYPE html", "web page"),
    (b"<html", "web page"),
    (b"BM", "BMP"),
)


def format_name(data: bytes) -> str | None:
    """The name of a file's format, such as "PNG", "HEIC" or "PDF"; None where it is not known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = [data[8:12], *(data[at : at + 4] for at in range(16, length, 4))]
        return next((name for brand in brands if (name := _BRANDS.get(brand)) and name != "HEIF"), None) or (
            "HEIF" if {b"mif1", b"msf1"} & set(brands) else "film"
        )
    return next((name for beginning, name in _BEGINNINGS if data.startswith(beginning)), None)
