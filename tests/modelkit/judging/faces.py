"""Labelled pictures on disk, as people keep them: Parquet files, folders, whole photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ANGRY, HAPPY, NEUTRAL = 0, 3, 4


def picture(grey: int = 200, size: tuple[int, int] = (48, 48), kind: str = "PNG", noise: int = 0) -> bytes:
    """An encoded RGB picture of one tone, (width, height); `noise` makes pictures differ."""
    pixels = np.full((size[1], size[0], 3), grey, np.uint8)
    pixels[:1, :1] = noise
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(path: Path, labels: Sequence[Any], images: Sequence[Any] | None = None, **columns: Any) -> Path:
    """A Parquet file of crops; further columns, or others in place of the usual ones (None leaves one out)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    usual: dict[str, Any] = {
        "name": [f"face-{i}" for i in range(len(labels))],
        "label": pa.array(labels, pa.int16()),
        "image": pa.array(images or [picture(noise=i) for i in range(len(labels))], pa.binary()),
    }
    table = {key: value for key, value in (usual | columns).items() if value is not None}
    pq.write_table(pa.table(table), path)
    return path


def write_folder(root: Path, **files: dict[str, bytes]) -> Path:
    """A folder with one folder for each keyword: file name to bytes."""
    for folder, content in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(data)
    return root
