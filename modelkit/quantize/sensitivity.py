"""Which layers cost what: each block of them is converted alone and the answers are compared with float32's."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from modelkit.quantize.convert import Writer
from modelkit.quantize.judge import Judge
from serving.models.backends import load_backend

MAX_BLOCKS = 64
"""Neighbouring layers share a block where a model has more than this: each block costs a second or two."""

BATCHES = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """What converting these layers alone does to the answers: mean over pictures of the largest change of a score."""

    layers: tuple[str, ...]
    change: float


def layer_costs(
    prepared: Path, writer: Writer, judge: Judge, found: Sequence[tuple[str, ...]], threads: int
) -> list[Cost]:
    """The cost of every block of layers, dearest first.

    Args:
        prepared: the float32 model.
        writer: of it.
        judge: of the model; the first pictures of its calibration are looked at.
        found: blocks, names of layers.
        threads: of the model's runtime.
    """
    inputs = list(islice(judge.calibration(), BATCHES))
    exact = load_backend(prepared, threads=threads)
    expected = [judge.scores(exact.run(rows)) for rows in inputs]
    costs = []
    with tempfile.TemporaryDirectory() as scratch:
        for block in tqdm(found, "sensitivity", leave=False):
            path = Path(scratch) / "one.onnx"
            writer.write(path, only=block)
            backend = load_backend(path, threads=threads)
            changes = [
                np.abs(judge.scores(backend.run(rows)) - wanted).reshape(len(rows), -1).max(axis=1)
                for rows, wanted in zip(inputs, expected, strict=True)
            ]
            costs.append(Cost(block, float(np.nan_to_num(np.concatenate(changes), nan=1.0).mean())))
    return sorted(costs, key=lambda cost: -cost.change)
