"""Tables of arrays that a run makes once and reads again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.disk import replacement


def write_table(path: Path, columns: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Writes an .npz that is there whole or not at all, whoever else writes it; its folder is created.

    Args:
        path: ends in `.npz`.
        columns: name to array.
        compressed: smaller, and slower to read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(path) as new, new.open("xb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **columns)
