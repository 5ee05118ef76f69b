"""The size of an image from its header, before anything is decoded."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

# Each import registers one format with Pillow; nothing else may be opened.
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from serving.errors import InvalidArgumentError
from serving.images import heif, jpeg_bare, plain_jpeg, png
from serving.images.heif import boxes
from serving.images.names import format_name
from serving.images.structure import check_structure
from serving.images.tiff.directory import is_tiff, read_directory
from serving.images.tiff.layout import read_layout
from serving.images.truncation import webp_until_first_picture

MAX_IMAGE_BYTES = 10 << 20
MAX_MEGAPIXELS = 40.0

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Pillow also takes files for TIFF whose first bytes no other reader knows, and which nothing has looked at here.
_NO_TIFF = FORMATS[:-1]
_KNOWN = "JPEG, PNG, WebP, BMP, GIF or TIFF"
_RUN_LENGTHS = {BmpImagePlugin.BmpImageFile.COMPRESSIONS[name] for name in ("RLE8", "RLE4")}
MAX_RUN_LENGTH_PIXELS, MAX_RUN_LENGTH_BYTES = 2_000_000, 4 << 20
"""Of a BMP with run lengths, which Pillow unpacks in Python: three seconds at most. A kilobyte can ask for 40
megapixels, which take fourteen."""
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
    if (name := format_name(data)) in heif.KINDS:
        width, height = heif_size(data, max_megapixels)
        return ImageHeader(str(name), width, height)
    if is_tiff(data):
        layout = read_layout(
            read_directory(data), len(data), lambda width, height: check_size(width, height, max_megapixels)
        )
        return ImageHeader("TIFF", layout.width, layout.height)
    with open_image(data, max_megapixels, pixels=False) as image:
        return ImageHeader(image.format or "", image.width, image.height)


def read_plain_header(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> ImageHeader | None:
    """As `read_header` in microseconds, for an ordinary JPEG; None: it takes the full look.

    Raises:
        InvalidArgumentError: it is too large; field `image`.
    """
    jpeg = plain_jpeg.look(data)
    if jpeg is None:
        return None
    check_size(jpeg.width, jpeg.height, max_megapixels)
    return ImageHeader("JPEG", jpeg.width, jpeg.height)


def heif_size(data: bytes, max_megapixels: float, *, allowed: bool = True) -> tuple[int, int]:
    """Width and height in pixels of a HEIC or AVIF picture, before it is turned.

    Args:
        data: the file.
        max_megapixels: largest width * height / 10^6.
        allowed: whether the service decodes them.

    Raises:
        InvalidArgumentError: broken, too large, or not allowed; field `image`.
    """
    if not allowed:
        name = format_name(data)
        raise InvalidArgumentError("image", f"is {name}, which is not switched on here; send it as JPEG or PNG")
    canvas = boxes.canvas(data)
    if canvas is None:
        raise InvalidArgumentError("image", f"is a broken or truncated {format_name(data)} file")
    check_size(*canvas, max_megapixels)
    return canvas


def open_image(data: bytes, max_megapixels: float = MAX_MEGAPIXELS, *, pixels: bool = True) -> Image.Image:
    """The image, opened but not decoded, its size within the limit.

    Args:
        data: the encoded image.
        max_megapixels: largest width * height / 10^6.
        pixels: whether it is to be decoded; without, a JPEG is opened without a copy of its scans.

    Raises:
        InvalidArgumentError: as in `read_header`.
    """
    if not data:
        raise InvalidArgumentError("image", "is empty")
    canvas = check_structure(data)
    if canvas is not None:
        check_size(*canvas, max_megapixels)
    name = format_name(data)
    metadata: dict[str, bytes] = {}
    if name == "PNG":
        data = png.bare(data)
    elif name == "JPEG":
        data, metadata = jpeg_bare.bare(data, scans=pixels)
    elif name == "WebP":
        data = webp_until_first_picture(data)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS if name == "TIFF" else _NO_TIFF)
    except Exception as error:
        # Hostile headers make Pillow raise nearly anything; whatever it is, the image is at fault.
        raise InvalidArgumentError("image", _unreadable(name)) from error
    check_size(image.width, image.height, max_megapixels)
    for kind, found in metadata.items():
        image.info[kind] = found
    if image.format == "BMP" and image.info.get("compression") in _RUN_LENGTHS:
        _check_run_lengths(image, len(data))
    return image


def _check_run_lengths(image: Image.Image, size: int) -> None:
    if image.width * image.height > MAX_RUN_LENGTH_PIXELS or size > MAX_RUN_LENGTH_BYTES:
        raise InvalidArgumentError(
            "image",
            f"is a BMP file with run lengths of more than {MAX_RUN_LENGTH_PIXELS / 1e6:g} megapixels or "
            f"{MAX_RUN_LENGTH_BYTES >> 20} MiB; save it without them, or as PNG",
        )


def _unreadable(name: str | None) -> str:
    if name is None:
        return f"is not a readable {_KNOWN} image"
    if name.upper() in FORMATS:
        return f"is a broken or truncated {name} file"
    return f"is a file of the format {name}, which is not read; send it as {_KNOWN}"


def check_size(width: int, height: int, max_megapixels: float) -> None:
    """Raises InvalidArgumentError where a picture has no pixels, or more than the limit; field `image`."""
    if width < 1 or height < 1:
        raise InvalidArgumentError("image", f"is {width} x {height} pixels")
    if width * height > max_megapixels * 1e6:
        raise InvalidArgumentError(
            "image", f"is {width} x {height} pixels, more than {max_megapixels:g} megapixels; send a smaller copy"
        )
