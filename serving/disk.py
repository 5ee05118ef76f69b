"""What must outlast a loss of power."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def flush(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file under: it takes the place of `path` when the context ends well.

    Whoever reads `path`, and whoever loses power, has the old file or the new one, whole, however many write at once.

    Raises:
        OSError: it cannot be written; the old one stays, and nothing of the new one is left.
    """
    # No process id: containers that share a volume have the same ones.
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        yield new
        flush(new)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    flush(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Writes a text in the way of `replacement`, which see."""
    with replacement(path) as new, new.open("x", encoding="utf-8") as file:
        file.write(text)
