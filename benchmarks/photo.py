"""The photo every benchmark sends: one face, 640 x 480, JPEG."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

SAMPLE = Path(__file__).parent.parent / "samples" / "eileen-collins.jpg"


def one_face(padding: int = 0) -> bytes:
    """An encoded 640 x 480 JPEG with one face; `padding` bytes of comment follow the picture to reach a size."""
    with Image.open(SAMPLE) as image:
        photo = ImageOps.fit(image.convert("RGB"), (640, 480), centering=(0.5, 0.2))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue() + bytes(padding)
