"""The size of an image from its header, before anything is decoded."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

# Each import registers one format with Pillow; nothing else may be opened.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from serving.errors import InvalidArgumentError
from serving.images.structure import check_structure

MAX_IMAGE_BYTES = 10 << 20
MAX_MEGAPIXELS = 40.0

# MPO is what some phones write, a JPEG with further pictures behind it; Pillow opens it as a JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# The limit is checked here, by the caller's number, and not by Pillow's global one.
Image.MAX_IMAGE_PIXELS = None
# One warning for each odd tag of a hostile file would fill the logs.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header says; width and height in pixels as stored, before EXIF orientation."""

    format: str
    width: int
    height: int


def read_header(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> ImageHeader:
    """Reads format and size of an encoded image.

    Args:
        data: the encoded image.
        max_megapixels: largest width * height / 10^6.

    Raises:
        InvalidArgumentError: empty, of no known format, broken, or too large; field `image`.
    """
    with open_image(data, max_megapixels) as image:
        return ImageHeader(image.format or "", image.width, image.height)


def open_image(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """The image, opened but not decoded, its size within the limit.

    Raises:
        InvalidArgumentError: as in `read_header`.
    """
    if not data:
        raise InvalidArgumentError("image", "is empty")
    canvas = check_structure(data)
    if canvas is not None:
        _check_size(*canvas, max_megapixels)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        # Hostile headers make Pillow raise nearly anything; whatever it is, the image is at fault.
        known = "JPEG, PNG, WebP, BMP, GIF or TIFF"
        raise InvalidArgumentError("image", f"is not a readable {known} image") from error
    _check_size(image.width, image.height, max_megapixels)
    return image


def _check_size(width: int, height: int, max_megapixels: float) -> None:
    if width < 1 or height < 1:
        raise InvalidArgumentError("image", f"is {width} x {height} pixels")
    if width * height > max_megapixels * 1e6:
        raise InvalidArgumentError(
            "image", f"is {width} x {height} pixels, more than {max_megapixels:g} megapixels; send a smaller copy"
        )
