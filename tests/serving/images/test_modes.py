"""Every format in every mode that Pillow writes, against what the pixels were: mean difference in grey levels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from serving.images.decode import decode
from tests.serving.images.files import Pixels, encode, photo

LOSSLESS = {"PNG": {}, "BMP": {}, "GIF": {}, "WEBP": {"lossless": True, "exact": True}}
LOSSLESS |= {
    f"TIFF {name}": {"compression": name}
    for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd")
}
LOSSY = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "JPEG progressive": {"quality": 98, "subsampling": 0, "progressive": True},
    "WEBP lossy": {"quality": 100},
    "TIFF jpeg": {"compression": "jpeg", "quality": 98},
    "TIFF webp": {"compression": "webp"},
}
MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I;16",
    "I",
    "F",
)
UNWRITABLE = (OSError, KeyError, ValueError)


def _as(mode: str) -> Image.Image:
    """The photo in a mode, its alpha half."""
    image = Image.fromarray(photo())
    if mode == "P":
        return image.quantize(255)
    if mode in {"I;16", "I"}:
        deep = np.asarray(image.convert("L")).astype(np.uint16 if mode == "I;16" else np.int32) * 257
        return Image.fromarray(deep)
    if mode == "F":
        return Image.fromarray(np.asarray(image.convert("L"), np.float32) / 255)
    if mode == "LAB":
        from PIL import ImageCms

        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        ) or pytest.fail("LittleCMS makes no LAB")
    if mode in {"LA", "La", "RGBA", "RGBa", "PA"}:
        whole = image.convert("LA" if mode in {"LA", "La"} else "RGBA")
        whole.putalpha(128)
        return whole if whole.mode == mode else whole.convert(mode)
    return image.convert(mode)


def _meant(mode: str, image: Image.Image) -> Pixels:
    """What the mode shows of the photo, by arithmetic where that is short."""
    grey = np.asarray(Image.fromarray(photo()).convert("L"))
    if mode in {"L", "LA", "La", "I;16", "I", "F"}:
        colours = np.repeat(grey[..., None], 3, axis=2).astype(float)
    elif mode == "1":
        colours = np.repeat(np.asarray(image)[..., None], 3, axis=2) * 255.0
    elif mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3)
        colours = palette[np.asarray(image)].astype(float)
    else:
        colours = photo().astype(float)
    if mode in {"LA", "La", "RGBA", "RGBa", "PA"}:
        colours = colours * 128 / 255 + 127
    return colours.round().astype(np.uint8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_pixels_are_what_they_were(name: str, mode: str) -> None:
    image, format_ = _as(mode), name.split(maxsplit=1)[0]
    try:
        data = encode(image, format_, **{**LOSSLESS, **LOSSY}[name])
    except UNWRITABLE as error:
        pytest.skip(f"Pillow does not write it: {error}")
    if (format_ in {"WEBP", "GIF"} and mode in {"I", "I;16", "F"}) or (format_ == "GIF" and "A" in mode.upper()):
        pytest.skip("Pillow writes other pixels than it was given")
    # Pillow writes no mask for alpha into a BMP: the fourth byte is padding.
    expected = _meant("RGB" if (format_, mode) == ("BMP", "RGBA") else mode, image).astype(int)
    pixels = decode(data)
    assert pixels.shape == expected.shape
    allowed: float = {"LAB": 3, "La": 1.5, "RGBa": 1.5, "YCbCr": 1.5, "PA": 12}.get(mode, 1)
    allowed += 12 if format_ == "GIF" else 0  # its palette
    allowed += 4 if name in LOSSY else 0
    assert np.abs(pixels.astype(int) - expected).mean() <= allowed
