"""Decodes one HEIC or AVIF picture from standard input to standard output. A program: `process` starts it.

It bounds itself before it reads a byte: address space, processor seconds, no new file or socket. Its decoders are
C and C++ libraries in which fuzzers have found errors that corrupt memory; what goes wrong here ends this process.
It imports nothing of Ferry, to start quickly.
"""

from __future__ import annotations

import io
import resource
import struct
import sys
from pathlib import Path

from PIL import Image, TiffImagePlugin  # noqa: F401  (EXIF data need it, and no file can be opened later)

HEAD = struct.Struct(">4sIIII")
"""Mode, width, height, orientation, bytes of the profile; then the profile, then the pixels."""
NO_DECODER = 3
"""Exit status: the package that reads the format is not installed."""
MAX_PROFILE_BYTES = 4 << 20


def main() -> int:
    memory, seconds, kind, max_pixels = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    try:
        _register(kind)
    except ImportError:
        return NO_DECODER
    own = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    for what, limit in (
        (resource.RLIMIT_AS, own + memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(what, (limit, limit))
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(sys.stdin.buffer.read())) as image:
        if image.width * image.height > max_pixels:
            return 1
        image.load()
        picture: Image.Image = image
        if image.mode not in {"RGB", "RGBA", "L", "LA"}:
            picture = image.convert("RGBA" if "A" in image.mode else "RGB")
        orientation = _orientation(image) if kind == "AVIF" else 1  # libheif turns by itself
        profile = image.info.get("icc_profile") or b""
        profile = profile if len(profile) <= MAX_PROFILE_BYTES else b""
        head = HEAD.pack(picture.mode.encode().ljust(4), image.width, image.height, orientation, len(profile))
        sys.stdout.buffer.write(head + profile)
        rows = max(1, (1 << 20) // image.width)
        for top in range(0, image.height, rows):
            part = picture.crop((0, top, image.width, min(top + rows, image.height)))
            sys.stdout.buffer.write(part.tobytes())
    sys.stdout.buffer.flush()
    return 0


def _orientation(image: Image.Image) -> int:
    """By EXIF's numbers; broken metadata are no reason to refuse good pixels."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _register(kind: str) -> None:
    """Lets Pillow open this format and nothing else."""
    Image._initialized = 2  # no other plugin is looked for
    if kind == "AVIF":
        from PIL import AvifImagePlugin, features

        if not features.check("avif"):
            raise ImportError("this Pillow reads no AVIF")
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    else:
        import pi_heif

        pi_heif.register_heif_opener(decode_threads=1, thumbnails=False)


if __name__ == "__main__":
    sys.exit(main())
