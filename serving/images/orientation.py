"""Which way up a picture is, as its metadata say."""

from __future__ import annotations

from PIL import Image

_TAG = 0x0112  # EXIF 2.32, section 4.6.4


def read_orientation(image: Image.Image) -> int:
    """The orientation by EXIF's numbers; 1 (upright) where there is none, or one that does not exist.

    Args:
        image: opened; `info["orientation"]` counts where that is set, else its EXIF data or XMP.
    """
    value: object = image.info.get("orientation")
    if value is None:
        try:
            value = image.getexif().get(_TAG, 1)
        except Exception:
            return 1  # broken metadata is no reason to refuse good pixels
    if isinstance(value, bytes) and len(value) == 1:  # stored as BYTE or UNDEFINED instead of SHORT
        value = value[0]
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
