"""Draws boxes and expressions into a picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from serving.images.drawing.layout import Rect, obstacles, place

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
_GROUP_SIDE, _GROUP_FACE = 1600, 64
"""Pictures of groups are enlarged until half of the faces have this shorter side, but not beyond this longer side."""
_LETTERS, _LEAST_LETTERS = 14, 9
"""Pixels of a label's letters, and of those beside a small face."""


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
    enlarged = _enlarged(picture.size, marks, scale)
    if enlarged > 1:
        picture = picture.resize((round(picture.width * enlarged), round(picture.height * enlarged)))
        scale *= enlarged
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(min(picture.size) / 200))
    boxes: list[Rect] = [tuple(round(edge * scale) for edge in mark.box) for mark in marks]  # type: ignore[misc]
    for mark, (left, top, right, bottom) in zip(marks, boxes, strict=True):
        # A dark frame around the coloured one: seen on light and on dark ground.
        canvas.rectangle((left - line, top - line, right + line, bottom + line), outline="black", width=line)
        canvas.rectangle((left, top, right, bottom), outline=_colour(mark), width=line)
    labels: list[Rect] = []
    for mark, box in zip(marks, boxes, strict=True):
        labels.append(_label(canvas, mark, box, obstacles(boxes, labels), line))
    return picture


def _enlarged(size: tuple[int, int], marks: Sequence[Mark], scale: float) -> float:
    """How many times as large as it is the picture has to be, 1 or more."""
    longer = max(size)
    sides = [min(m.box[2] - m.box[0], m.box[3] - m.box[1]) * scale for m in marks]
    group = _GROUP_FACE / max(1.0, statistics.median(sides)) if len(sides) > 1 else 1.0
    return max(1.0, _LEAST_SIDE / longer, min(group, _GROUP_SIDE / longer))


def _colour(mark: Mark) -> str:
    return _COLOURS.get(mark.expression, _OTHER)


def _label(draw: ImageDraw.ImageDraw, mark: Mark, box: Rect, taken: Sequence[tuple[Rect, float]], line: int) -> Rect:
    """Black letters on a filled tab beside the face, on as little of faces and labels as can be. Returns the tab."""
    width, height = draw.im.size
    usual = max(_LETTERS, round(min(width, height) / 30))
    small = max(_LEAST_LETTERS, min(usual, round((box[3] - box[1]) / 4)))
    font = ImageFont.load_default(size=small)
    text = f"{mark.expression} {mark.confidence:.0%}"
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    pad = max(2, round((y1 - y0) / 4))
    size = (round(x1 - x0) + 2 * pad, round(y1 - y0) + 2 * pad)
    framed = (box[0] - line, box[1] - line, box[2] + line, box[3] + line)
    tab = place(size, framed, taken, (width, height))
    draw.rectangle(tab, fill=_colour(mark), outline="black")
    draw.text((tab[0] + pad - x0, tab[1] + pad - y0), text, fill="black", font=font)
    return tab
