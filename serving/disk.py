"""What must outlast a loss of power."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW = ".new"
_LEFT_SECONDS = 3600.0
"""Nobody writes one file for so long."""


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
    clear_left(path.parent, f".{glob.escape(path.name)}.*{_NEW}", _LEFT_SECONDS)
    # No process id: containers that share a volume have the same ones.
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_NEW}")
    try:
        yield new
        flush(new)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    flush(path.parent)


def clear_left(folder: Path, names: str, seconds: float) -> None:
    """Removes from a folder what writers that were killed have left.

    Args:
        folder: see above.
        names: of files or folders, a pattern as `Path.glob` takes it.
        seconds: what was changed in them may still be somebody's work.
    """
    for left in folder.glob(names):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > seconds:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def write_whole(path: Path, text: str) -> None:
    """Writes a text in the way of `replacement`, which see."""
    with replacement(path) as new, new.open("x", encoding="utf-8") as file:
        file.write(text)
