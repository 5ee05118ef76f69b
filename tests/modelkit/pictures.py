"""Small labelled data sets, made on the spot: each expression is a pattern of its own, with noise."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def crops(per_class: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """uint8 [7 * per_class, 48, 48] and their labels, interleaved; no two are near-duplicates."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(7), per_class)
    y, x = np.mgrid[:48, :48] / 48
    patterns = [np.sin(2 * np.pi * (np.cos(k) * x + np.sin(k) * y) * 3) for k in range(7)]
    noise = rng.normal(0, 1, (len(labels), 12, 12)).repeat(4, axis=1).repeat(4, axis=2)
    images = np.stack([patterns[label] for label in labels]) * 45 + noise * 30 + 128
    return images.clip(0, 255).astype(np.uint8), labels


def png(image: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def write_crops(path: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    """A Parquet file of the schema that `modelkit.data.expressions` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "split": [path.stem] * len(labels),
            "name": [f"{path.stem}-{i}" for i in range(len(labels))],
            "label": pa.array(labels, pa.int8()),
            "image": [png(image) for image in images],
        }
    )
    pq.write_table(table, path)
