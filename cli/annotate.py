"""Draws boxes and expressions into a photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ferry.client import Face
from serving.errors import InvalidArgumentError
from serving.images.decode import decode
from serving.images.drawing.draw import Mark, draw

_MAX_MEGAPIXELS = 500.0
"""What a detector can be told to accept at most."""


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
    return draw(picture, [Mark(face.box.xyxy, face.expression, face.confidence) for face in faces])
