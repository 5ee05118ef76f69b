"""From encoded bytes to upright RGB pixels. The only decoder in Ferry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.header import MAX_MEGAPIXELS, open_image

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, section 4.6.4
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
            image.load()
            upright = _upright(image)
            return np.ascontiguousarray(_to_rgb(upright))
        except InvalidArgumentError:
            raise
        except Exception as error:
            # As with headers: broken data makes Pillow raise nearly anything.
            raise InvalidArgumentError("image", f"is a broken or truncated {image.format} file") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        # After load(): Pillow turns TIFF files itself and then drops the tag.
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return image  # broken metadata is no reason to refuse good pixels
    transpose = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_deep_grey(image)[..., None], 3, axis=2)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba)
        return np.asarray(white)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _deep_grey(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey of more than 8 bits: integers are taken as 16 bits, floats as [0, 1], or as [0, 255] where larger."""
    if image.mode == "F":
        floats = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        if floats.max(initial=0) <= 1:
            floats *= 255
        return np.clip(floats, 0, 255, out=floats).astype(np.uint8)
    integers = np.asarray(image)
    if integers.dtype.itemsize > 2:
        integers = np.clip(integers, 0, 65535)
    return (integers >> 8).astype(np.uint8)
