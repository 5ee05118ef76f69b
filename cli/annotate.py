"""Draws boxes and expressions into a photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ferry.client import Face
from serving.errors import InvalidArgumentError
from serving.images.decode import decode

_COLOURS = {
    "angry": "#e5484d",
    "disgust": "#46a758",
    "fear": "#8e4ec6",
    "happy": "#ffc53d",
    "neutral": "#b0b4ba",
    "sad": "#3e63dd",
    "surprised": "#f76b15",
}
_OTHER = "#ffffff"
_MAX_MEGAPIXELS = 500.0
"""What a detector can be told to accept at most."""
_LEAST_SIDE = 480
"""Smaller pictures are enlarged to this longer side, in pixels, to have room for letters."""


def annotate(path: Path, faces: Sequence[Face]) -> Image.Image:
    """The photo at `path`, upright, RGB, with a box, the expression and its probability for each face.

    Args:
        path: an image file.
        faces: boxes in pixels of the upright image, as Ferry answers.

    Raises:
        OSError: it cannot be read.
    """
    try:
        picture = Image.fromarray(decode(path.read_bytes(), _MAX_MEGAPIXELS, heif=True))
    except InvalidArgumentError as error:
        raise OSError(error.description) from error
    scale = max(1.0, _LEAST_SIDE / max(picture.size))
    if scale > 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    draw = ImageDraw.Draw(picture)
    line = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(14, round(min(picture.size) / 30)))
    for face in faces:
        left, top, right, bottom = (round(edge * scale) for edge in face.box.xyxy)
        colour = _COLOURS.get(face.expression, _OTHER)
        # A dark frame around the coloured one: seen on light and on dark ground.
        draw.rectangle((left - line, top - line, right + line, bottom + line), outline="black", width=line)
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        _label(draw, font, f"{face.expression} {face.confidence:.0%}", colour, (left, top - line))
    return picture


def _label(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    colour: str,
    corner: tuple[int, int],
) -> None:
    """Black letters on a filled tab with its lower left corner at `corner`, moved inside where it would leave."""
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    pad = max(3, round((y1 - y0) / 4))
    width, height = round(x1 - x0) + 2 * pad, round(y1 - y0) + 2 * pad
    left = max(0, min(corner[0], draw.im.size[0] - width))
    top = max(0, min(corner[1] - height, draw.im.size[1] - height))
    draw.rectangle((left, top, left + width, top + height), fill=colour, outline="black")
    draw.text((left + pad - x0, top + pad - y0), text, fill="black", font=font)
