"""Tables of arrays that a run makes once and reads again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_table(path: Path, columns: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Writes an .npz that is there whole or not at all; its folder is created.

    Args:
        path: ends in `.npz`.
        columns: name to array.
        compressed: smaller, and slower to read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    (np.savez_compressed if compressed else np.savez)(partial, **columns)
    partial.replace(path)
