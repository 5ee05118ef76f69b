"""Decodes one picture and draws into it, in a process that is started for it and may die of it.

Standard input: a line of JSON (`Task`), then the picture. Standard output: a PNG. Exit status: 0, or one of the
constants below. It needs no more than Pillow, so that it runs where nothing else decodes.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from typing import Final, TypedDict

from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.drawing.draw import Mark, draw
from serving.images.header import open_image
from serving.images.orientation import UPRIGHT, read_orientation

REFUSED: Final = 3
"""The picture cannot be drawn into: too large, broken, or of a format that needs more than Pillow."""
LONGEST_SIDE: Final = 2048
"""Of what comes out, pixels."""
MAX_MEGAPIXELS: Final = 17.0
"""Decoded; a JPEG is reduced to below that, since it is halved from 4096 pixels on."""
MEMORY: Final = 384 << 20
"""Bytes of address space; 17 megapixels of four channels and their copy in three are 119 MB."""
CPU_SECONDS: Final = 10


class Task(TypedDict):
    """marks: box, expression and confidence of each face; width: of the upright picture that boxes are told in."""

    marks: list[tuple[tuple[float, float, float, float], str, float]]
    width: int


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task: Task = json.loads(sys.stdin.buffer.readline())
    try:
        picture = upright(sys.stdin.buffer.read())
    except (InvalidArgumentError, OSError, ValueError, SyntaxError, MemoryError):
        return REFUSED
    marks = [Mark((box[0], box[1], box[2], box[3]), expression, share) for box, expression, share in task["marks"]]
    out = io.BytesIO()
    draw(picture, marks, picture.width / task["width"]).save(out, "PNG", compress_level=3)
    sys.stdout.buffer.write(out.getbuffer())
    return 0


def upright(data: bytes) -> Image.Image:
    """The picture in RGB, upright, no longer than LONGEST_SIDE.

    Raises:
        InvalidArgumentError: it is of no known format, or too large.
        OSError: it is broken.
    """
    # A JPEG is reduced while it is decoded; what is left is held against the limit.
    with open_image(data, 1e6) as opened:
        if opened.format == "JPEG":
            opened.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
        if opened.width * opened.height > MAX_MEGAPIXELS * 1e6:
            raise InvalidArgumentError("image", "is too large to draw into")
        opened.load()
        turn = UPRIGHT.get(read_orientation(opened))
        image = opened.convert("RGBA") if opened.has_transparency_data else opened.convert("RGB")
    if image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image if turn is None else image.transpose(turn)


if __name__ == "__main__":
    sys.exit(main())
