"""How far a run has come: one file, the old one or the new one, whenever it is killed."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from serving.disk import flush


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Keeps a state that `torch.load` reads.

    Raises:
        OSError: it cannot be written; what was kept before stays, and nothing else.
    """
    buffer = io.BytesIO()  # where a disk is full, PyTorch tells a line of its own code and not that
    torch.save(state, buffer)
    partial = path.with_name(f"{path.name}.partial")  # of one that was killed it is written over
    try:
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
        flush(partial)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
