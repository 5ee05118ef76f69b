"""From encoded bytes to upright RGB pixels. The only decoder in Ferry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images import png
from serving.images.bands import upright_rgb
from serving.images.convert import converter
from serving.images.header import MAX_MEGAPIXELS, check_size, open_image
from serving.images.names import format_name
from serving.images.orientation import read_orientation
from serving.images.profile import MAX_BYTES as MAX_PROFILE_BYTES
from serving.images.tiff.directory import is_tiff
from serving.images.tiff.load import load as load_tiff
from serving.images.truncation import load_jpeg_without_end
from serving.images.webp import load_webp


def decode(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> npt.NDArray[np.uint8]:
    """Decodes an image: first frame, upright by its EXIF orientation, in sRGB by its ICC profile, transparency on
    white, deep samples as 8 bits (`serving.images.tiff.levels`; of PNG's 16 bits the upper 8).

    Args:
        data: JPEG, PNG, WebP, BMP, GIF or TIFF.
        max_megapixels: largest width * height / 10^6, checked before decoding.

    Returns:
        uint8 [height, width, 3], RGB, upright.

    Raises:
        InvalidArgumentError: the image is empty, unknown, broken, truncated or too large; field `image`.
    """
    try:
        decoded, opened = _load(data, max_megapixels)
        return upright_rgb(decoded, read_orientation(opened), converter(decoded, opened.info.get("icc_profile")))
    except InvalidArgumentError:
        raise
    except Exception as error:
        # As with headers: broken data makes Pillow raise nearly anything.
        name = format_name(data) or "image"
        raise InvalidArgumentError("image", f"is a broken or truncated {name} file") from error


def _load(data: bytes, max_megapixels: float) -> tuple[Image.Image, Image.Image]:
    """The first frame as stored, decoded, and the image that has its metadata."""
    if is_tiff(data):
        image = load_tiff(data, lambda width, height: check_size(width, height, max_megapixels))
        return image, image
    with open_image(data, max_megapixels) as image:
        if image.format == "WEBP":
            return load_webp(image), image
        if image.format == "PNG":
            image.info["icc_profile"] = png.profile(data, MAX_PROFILE_BYTES)
            if not png.has_all_rows(data):
                raise EOFError("rows are missing")
        try:
            image.load()
        except OSError:
            if image.format not in {"JPEG", "MPO"}:
                raise
            return load_jpeg_without_end(data), image
        return image, image
