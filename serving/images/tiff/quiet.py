"""Keeps libtiff from writing about broken files to standard error, past the logs."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

from PIL import _imaging  # noqa: F401  (loads libtiff)

_MAPS = Path("/proc/self/maps")


def silence_libtiff() -> None:
    """Takes away the handlers of messages; errors still come as exceptions. Without /proc nothing changes.

    Pillow has no switch for it, and its own level, exceptions, says all that is needed.
    """
    with contextlib.suppress(OSError, AttributeError):
        paths = {line.split(maxsplit=5)[-1] for line in _MAPS.read_text().splitlines() if "/libtiff" in line}
        for path in paths:
            library = ctypes.CDLL(path)  # the same one that Pillow has loaded
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
