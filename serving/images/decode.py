"""From encoded bytes to upright RGB pixels. The only decoder in Ferry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.bands import BAND_PIXELS, ToRgb, upright_rgb
from serving.images.header import MAX_MEGAPIXELS, open_image
from serving.images.webp import load_webp

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, section 4.6.4


def decode(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> npt.NDArray[np.uint8]:
    """Decodes an image: first frame, EXIF orientation applied, transparency on white, 16 bits cut to 8.

    Args:
        data: JPEG, PNG, WebP, BMP, GIF or TIFF.
        max_megapixels: largest width * height / 10^6, checked before decoding.

    Returns:
        uint8 [height, width, 3], RGB, upright.

    Raises:
        InvalidArgumentError: the image is empty, unknown, broken, truncated or too large; field `image`.
    """
    with open_image(data, max_megapixels) as image:
        try:
            if image.format == "WEBP":
                decoded = load_webp(image)
            else:
                image.load()
                decoded = image
            # After load(): Pillow turns TIFF files itself and then drops the tag.
            return upright_rgb(decoded, _orientation(image), _converter(decoded))
        except InvalidArgumentError:
            raise
        except Exception as error:
            # As with headers: broken data makes Pillow raise nearly anything.
            raise InvalidArgumentError("image", f"is a broken or truncated {image.format} file") from error


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # broken metadata is no reason to refuse good pixels
    return orientation if isinstance(orientation, int) else 1


def _converter(image: Image.Image) -> ToRgb:
    """What makes RGB of each band; what depends on the whole image is looked up here."""
    if image.mode == "F":
        scale = 255.0 if _largest(image) <= 1 else 1.0
        return lambda band: _grey_to_rgb(_float_grey(band, scale))
    if image.mode.startswith("I"):
        return lambda band: _grey_to_rgb(_deep_grey(band))
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        return _on_white
    return lambda band: np.asarray(band if band.mode == "RGB" else band.convert("RGB"))


def _on_white(band: Image.Image) -> npt.NDArray[np.uint8]:
    rgba = band if band.mode == "RGBA" else band.convert("RGBA")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba)
    return np.asarray(white)


def _grey_to_rgb(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def _deep_grey(band: Image.Image) -> npt.NDArray[np.uint8]:
    """Integers of more than 8 bits are taken as 16 bits."""
    integers = np.asarray(band)
    if integers.dtype.itemsize > 2:
        integers = np.clip(integers, 0, 65535)
    return (integers >> 8).astype(np.uint8)


def _float_grey(band: Image.Image, scale: float) -> npt.NDArray[np.uint8]:
    floats = _finite(band) * np.float32(scale)
    return np.clip(floats, 0, 255, out=floats).astype(np.uint8)


def _finite(band: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(band, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _largest(image: Image.Image) -> float:
    """The largest finite value, which says whether floats are meant as [0, 1] or as [0, 255]."""
    rows = max(BAND_PIXELS // image.width, 1)
    bands = (image.crop((0, top, image.width, min(top + rows, image.height))) for top in range(0, image.height, rows))
    return max(float(_finite(band).max(initial=0)) for band in bands)
