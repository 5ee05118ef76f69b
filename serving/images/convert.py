"""From the modes of decoded pictures to RGB as it is seen: in sRGB, on white, with 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.bands import ToRgb
from serving.images.profile import lab_to_srgb, srgb_transform

_SOLID = {"1": "L", "YCbCr": "RGB", "RGBX": "RGB", "La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


def converter(image: Image.Image, profile: bytes | None) -> ToRgb:
    """What makes RGB of each band of `image`; what depends on the whole image is looked up here.

    Args:
        image: decoded.
        profile: its ICC profile; one that cannot be used is ignored.
    """
    mode = _mode(image)
    if mode == image.mode == "RGB" and profile is None:
        return np.asarray
    transform = srgb_transform(profile, mode)

    def to_rgb(band: Image.Image) -> npt.NDArray[np.uint8]:
        solid = _to_mode(band, mode)
        if transform is not None:
            solid = transform(solid)
        if solid.mode in {"LA", "RGBA"}:
            return _on_white(solid)
        return np.asarray(solid if solid.mode == "RGB" else solid.convert("RGB"))

    return to_rgb


def _mode(image: Image.Image) -> str:
    """L, LA, RGB, RGBA, CMYK or LAB: what a band of the image is turned into first."""
    if image.mode.startswith("I"):
        return "L"
    if "transparency" in image.info:
        return "RGBA"
    if image.mode == "RGBA" and image.format == "BMP" and image.getextrema()[-1] == (0, 0):
        return "RGB"  # the fourth byte is padding, whatever the header says
    return _SOLID.get(image.mode, "RGB" if image.mode == "P" else image.mode)


def _to_mode(band: Image.Image, mode: str) -> Image.Image:
    if band.mode.startswith("I"):
        return Image.fromarray(_eight_bits(band))
    if band.mode == "LAB":
        return lab_to_srgb(band)
    return band if band.mode == mode else band.convert(mode)


def _on_white(band: Image.Image) -> npt.NDArray[np.uint8]:
    rgba = band if band.mode == "RGBA" else band.convert("RGBA")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba)
    return np.asarray(white)


def _eight_bits(band: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey of 16 bits, as PNG has it; what is transparent is white."""
    integers = np.asarray(band)
    if integers.dtype.itemsize > 2:
        integers = np.clip(integers, 0, 65535)
    grey = (integers >> 8).astype(np.uint8)
    if (clear := band.info.get("transparency")) is not None:
        grey[integers == clear] = 255
    return grey
