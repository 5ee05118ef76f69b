"""Tar archives, made in memory."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def tar_of(files: dict[str, bytes], *special: tarfile.TarInfo, mode: str = "w") -> bytes:
    """An archive of these files by path, and of members that are none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in special:
            tar.addfile(info)
    return buffer.getvalue()


def packed(folder: Path) -> bytes:
    """An archive of all files below a folder."""
    return tar_of({str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
