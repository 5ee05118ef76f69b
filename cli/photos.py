"""Which files of paths on a command line are photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif"),
)
_NAMED = 10
"""Most files that are listed as no photos; the others are counted."""


def given(text: str) -> Path:
    """A path of the command line.

    Raises:
        typer.BadParameter: it is empty, as a variable without a value leaves it: that would be the folder one is in,
            and all its photos would be sent.
    """
    if not text:
        raise typer.BadParameter("a path is empty; perhaps a variable has no value (the folder you are in is `.`)")
    return Path(text)


def photos(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The photos, in order, and the files of folders that are none by their names; folders are looked through."""
    found: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            (found if file.suffix.lower() in _SUFFIXES else others).append(file)
    return found, others


def left_out(others: Sequence[Path], before: str = "") -> str:
    """A line that names the files that are no photos; empty where there are none."""
    if not others:
        return ""
    names = ", ".join(map(str, others[:_NAMED]))
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    count = "1 file is" if len(others) == 1 else f"{len(others)} files are"
    return f"{before}{count} left out, by name no photos: {names}{more}"


def names(files: Sequence[Path], suffix: str) -> list[str]:
    """A file name for each photo, in one folder, none of them twice."""
    taken: set[str] = set()
    found = []
    for file in files:
        name, number = file.stem, 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name)
        found.append(name + suffix)
    return found
