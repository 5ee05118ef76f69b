"""Runs the decoder of HEIC and AVIF in a process of its own, with bounds on all it may take."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.heif import child
from serving.pipe import Pipe

PROGRAM_BYTES = 24 << 20
"""What the process takes of the machine's memory before it reads a picture; 22 MiB were seen."""
RESERVE_BYTES, PIXEL_BYTES = 48 << 20, 14
"""Address space that it may take beside that: for any picture, and for each pixel. HEIC of 64 x 64 needed 10 MiB; AVIF
10 bytes a pixel, and 13 where it had transparency and as much colour as brightness (24 megapixels of noise)."""
CPU_SECONDS, PIXELS_A_SECOND = 4, 2_500_000
"""Of a processor, for any picture and for its pixels: a file can hold any number of pictures beside the one that is
wanted. 10 megapixels a second were seen on one core of today."""
WALL_SECONDS = 60.0

_PROGRAM = Path(child.__file__)
_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def process_bytes(pixels: int) -> int:
    """Bytes that the process can take for a picture, beside the file and what it shares with others, whatever the file
    holds: a stream of another size than its header says, items that nobody sees."""
    return PROGRAM_BYTES + RESERVE_BYTES + PIXEL_BYTES * pixels


def decode_apart(data: bytes, kind: str, pixels: int) -> Image.Image:
    """Decodes the primary picture of a file.

    Args:
        data: the file.
        kind: "HEIC" or "AVIF".
        pixels: width * height as its header says; a picture that turns out larger is refused.

    Returns:
        A picture in L, LA, RGB or RGBA, as stored; `info` has `orientation` (EXIF's numbers) and `icc_profile`.

    Raises:
        InvalidArgumentError: the decoder is not installed; field `image`.
        OSError: broken, too costly, or the decoder failed.
    """
    memory = RESERVE_BYTES + PIXEL_BYTES * pixels + 2 * len(data)  # read, and given to the decoder
    limits = (str(memory), str(CPU_SECONDS + pixels // PIXELS_A_SECOND), kind, str(pixels))
    file = os.memfd_create("image")
    try:
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.write(data)
        os.lseek(file, 0, os.SEEK_SET)
        image, status = _run([sys.executable, "-I", str(_PROGRAM), *limits], file, pixels)
    finally:
        os.close(file)
    if status == child.NO_DECODER:
        raise InvalidArgumentError("image", f"is {kind}, and its decoder is not installed here; send it as JPEG or PNG")
    if image is None or status:
        raise OSError(f"the decoder ended with status {status}")
    return image


def _run(command: list[str], file: int, pixels: int) -> tuple[Image.Image | None, int]:
    """What the process answers, if it does, and its exit status; it is gone afterwards."""
    with subprocess.Popen(
        command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={}
    ) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + WALL_SECONDS
        try:
            return _read(Pipe(process.stdout.fileno(), deadline), pixels), process.wait(deadline - time.monotonic())
        except (TimeoutError, subprocess.TimeoutExpired):
            process.kill()
            return None, process.wait()
        except BaseException:
            process.kill()
            raise


def _read(answer: Pipe, pixels: int) -> Image.Image | None:
    """The picture; None where the process ended too early. Nothing that it says is believed unchecked.

    Raises:
        TimeoutError: the process took too long.
        OSError: it answers nonsense.
    """
    try:
        name, width, height, orientation, profile_bytes = child.HEAD.unpack(answer.read(child.HEAD.size))
        mode = name.decode("ascii", "replace").strip()
        if mode not in _CHANNELS or not 0 < width * height <= pixels or profile_bytes > child.MAX_PROFILE_BYTES:
            raise OSError("the decoder answered nonsense")
        profile = bytes(answer.read(profile_bytes))
        samples = answer.read(width * height * _CHANNELS[mode])
        answer.end()  # and the process is about to
    except EOFError:
        return None
    except ValueError:
        raise OSError("the decoder answered nonsense") from None
    image = Image.frombuffer(mode, (width, height), samples, "raw", mode, 0, 1)
    image.info = {"orientation": orientation, "icc_profile": profile or None}
    return image
