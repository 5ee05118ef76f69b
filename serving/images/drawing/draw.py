"""Draws boxes and expressions into a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

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
_LEAST_SIDE = 480
"""Smaller pictures are enlarged to this longer side, in pixels, to have room for letters."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is drawn for a face.

    Attributes:
        box: left, top, right, bottom in pixels of the upright picture.
        expression: decides the colour, and stands on the label.
        confidence: its probability, in [0, 1].
    """

    box: tuple[float, float, float, float]
    expression: str
    confidence: float


def draw(picture: Image.Image, marks: Sequence[Mark], scale: float = 1.0) -> Image.Image:
    """`picture` with a box, the expression and its probability for each face.

    Args:
        picture: upright, RGB; drawn into, or into a larger copy.
        marks: one a face.
        scale: pixels of `picture` for one of what boxes are told in.
    """
    enlarged = max(1.0, _LEAST_SIDE / max(picture.size))
    if enlarged > 1:
        picture = picture.resize((round(picture.width * enlarged), round(picture.height * enlarged)))
        scale *= enlarged
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(14, round(min(picture.size) / 30)))
    for mark in marks:
        left, top, right, bottom = (round(edge * scale) for edge in mark.box)
        colour = _COLOURS.get(mark.expression, _OTHER)
        # A dark frame around the coloured one: seen on light and on dark ground.
        canvas.rectangle((left - line, top - line, right + line, bottom + line), outline="black", width=line)
        canvas.rectangle((left, top, right, bottom), outline=colour, width=line)
        _label(canvas, font, f"{mark.expression} {mark.confidence:.0%}", colour, (left, top - line))
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
