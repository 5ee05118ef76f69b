"""From encoded bytes to upright RGB pixels. The only decoder in Ferry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import InvalidArgumentError, OverloadedError
from serving.images import png
from serving.images.bands import ON_SIDE, upright_pixels, upright_rgb
from serving.images.convert import converter
from serving.images.header import MAX_MEGAPIXELS, check_size, heif_size, open_image
from serving.images.heif import KINDS
from serving.images.heif.process import decode_apart
from serving.images.jpeg import decode_jpeg
from serving.images.names import format_name
from serving.images.orientation import read_orientation
from serving.images.profile import MAX_BYTES as MAX_PROFILE_BYTES
from serving.images.tiff.directory import is_tiff
from serving.images.tiff.load import load as load_tiff
from serving.images.truncation import draft
from serving.images.webp import load_webp

_RETRY_SECONDS = 1.0
"""Until there may be memory again: pictures give theirs back when they have been looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image.

    pixels: uint8 [height / reduction, width / reduction, 3], rounded up, RGB, upright; width, height: of the whole
    image, upright, in pixels; reduction: by how much the pixels were shrunk while they were decoded, 1, 2, 4 or 8.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    reduction: int


def decode(data: bytes, max_megapixels: float = MAX_MEGAPIXELS, *, heif: bool = False) -> npt.NDArray[np.uint8]:
    """Decodes an image: first frame, upright by its EXIF orientation, in sRGB by its ICC profile, transparency on
    white, deep samples as 8 bits (`serving.images.tiff.levels`; of PNG's 16 bits the upper 8).

    Args:
        data: JPEG, PNG, WebP, BMP, GIF or TIFF.
        max_megapixels: largest width * height / 10^6, checked before decoding.
        heif: also HEIC and AVIF, each in a process of its own (`serving.images.heif`).

    Returns:
        uint8 [height, width, 3], RGB, upright.

    Raises:
        InvalidArgumentError: the image is empty, unknown, broken, truncated or too large; field `image`.
    """
    return decode_reduced(data, 1, max_megapixels, heif=heif).pixels


def decode_reduced(
    data: bytes, reduction: int, max_megapixels: float = MAX_MEGAPIXELS, *, heif: bool = False
) -> Picture:
    """As `decode`, but a JPEG is shrunk while it is decoded, which takes a fraction of the memory and of the time.

    Args:
        reduction: 1, 2, 4 or 8, by which width and height are divided; other formats come whole.

    Raises:
        InvalidArgumentError: as `decode`.
        OverloadedError: there is no memory left.
    """
    try:
        loaded = _load(data, reduction, max_megapixels, heif)
        orientation = read_orientation(loaded.opened)
        profile = loaded.opened.info.get("icc_profile")
        if isinstance(loaded.image, Image.Image):
            pixels = upright_rgb(loaded.image, orientation, converter(loaded.image, profile))
        else:
            to_rgb = None if profile is None else converter(loaded.opened, profile)
            pixels = upright_pixels(loaded.image, orientation, to_rgb)
    except InvalidArgumentError:
        raise
    except MemoryError as error:
        # Its size was checked before: this process is at fault, and the picture may fit in another one, or later.
        raise OverloadedError("no memory left to decode the image; try again shortly", _RETRY_SECONDS) from error
    except Exception as error:
        # As with headers: broken data makes Pillow raise nearly anything.
        name = format_name(data) or "image"
        raise InvalidArgumentError("image", f"is a broken or truncated {name} file") from error
    size = loaded.size if orientation not in ON_SIDE else (loaded.size[1], loaded.size[0])
    return Picture(pixels, *size, loaded.reduction)


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """The first frame as stored, decoded; the image that has its metadata; its size before it was shrunk.

    image: or its pixels, RGB, uint8 [height, width, 3].
    """

    image: Image.Image | npt.NDArray[np.uint8]
    opened: Image.Image
    size: tuple[int, int]
    reduction: int


def _load(data: bytes, reduction: int, max_megapixels: float, heif: bool) -> _Loaded:
    if is_tiff(data):
        image = load_tiff(data, lambda width, height: check_size(width, height, max_megapixels))
        return _Loaded(image, image, image.size, 1)
    if (name := format_name(data)) in KINDS:
        width, height = heif_size(data, max_megapixels, allowed=heif)
        image = decode_apart(data, str(name), width * height)
        return _Loaded(image, image, image.size, 1)
    # Of a JPEG its own decoder has the pixels.
    with open_image(data, max_megapixels, pixels=name != "JPEG") as image:
        size = image.size
        if image.format == "WEBP":
            return _Loaded(load_webp(image), image, size, 1)
        if image.format == "JPEG":
            reduction = draft(image, reduction)
            return _Loaded(decode_jpeg(data, image, reduction), image, size, reduction)
        if image.format == "PNG":
            image.info["icc_profile"] = png.profile(data, MAX_PROFILE_BYTES)
            if not png.has_all_rows(data):
                raise EOFError("rows are missing")
        image.load()
        if image.format == "PNG" and "transparency" in image.info:
            image.info["transparency"] = png.transparent(data, image.info["transparency"])
        return _Loaded(image, image, size, 1)
