"""Which way up a picture is, as its metadata say."""

from __future__ import annotations

import re
from typing import Final

from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.tiff.directory import ORIENTATION, read_directory

UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture upright, by its orientation; 1 needs nothing."""
_PREFIX: Final = b"Exif\0\0"
_IN_TEXT: Final = "Raw profile type exif"
_XMP: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])\b')


def read_orientation(image: Image.Image) -> int:
    """The orientation by EXIF's numbers; 1 (upright) where there is none, or one that does not exist.

    Metadata are read here and not by Pillow, which makes objects of every value that a tag has: a file can say that its
    orientation is a million fractions.

    Args:
        image: opened; `info["orientation"]` counts where that is set, else its EXIF data, else XMP.
    """
    value = image.info.get("orientation")
    if value is None:
        value = _of_exif(_exif(image))
    if value is None:
        value = _of_xmp(image)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif(image: Image.Image) -> bytes:
    """EXIF data as the file has them, or as text; empty where there are none."""
    data = image.info.get("exif")
    if isinstance(data, bytes):
        return data
    text = image.info.get(_IN_TEXT)
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else b""
    except ValueError:
        return b""


def _of_exif(data: bytes) -> int | None:
    """EXIF 2.32, section 4.6.4; None where it is not said, or the data are broken."""
    if not data:
        return None
    try:
        directory = read_directory(data.removeprefix(_PREFIX).removeprefix(_PREFIX))
    except InvalidArgumentError:
        return None  # broken metadata is no reason to refuse good pixels
    entry = directory.entries.get(ORIENTATION)
    if entry is None or entry.count != 1:
        return None
    raw = entry.raw  # UNDEFINED is none of TIFF's numbers
    return raw[0] if len(raw) == 1 else next(iter(directory.integers(ORIENTATION)), None)


def _of_xmp(image: Image.Image) -> int | None:
    text = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    found = _XMP.search(text.encode() if isinstance(text, str) else text)
    return None if found is None else int(found[1])
