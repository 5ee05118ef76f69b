"""Rows of several shapes through one batcher."""

from __future__ import annotations

import asyncio

import numpy as np

from serving.models.batching.batcher import MicroBatcher
from serving.models.batching.policy import BatchPolicy
from tests.serving.models.batching.gated import GatedModel

LATER = 1e9
"""A deadline that never comes, time.monotonic() seconds."""


async def test_rows_of_one_shape_share_a_run_and_no_shape_waits_for_ever() -> None:
    model = GatedModel()
    batcher = MicroBatcher(model, BatchPolicy(max_batch=8), model="shapes", version="1")
    batcher.start()
    first = asyncio.create_task(batcher.submit(np.zeros((1, 1), np.float32), LATER))
    await model.started()
    shapes = (3, 2, 3, 1, 2)
    rows = [np.full((1, side), side, np.float32) for side in shapes]
    others = [asyncio.create_task(batcher.submit(row, LATER)) for row in rows]
    while batcher.pending < 6:
        await asyncio.sleep(0)
    taken = []
    for _ in range(3):
        model.finish()
        await model.started()
        taken.append(model.runs[-1].tolist())
    model.finish()
    # The oldest decides; what has its shape goes along, the others keep their order.
    assert taken == [[[3, 3, 3], [3, 3, 3]], [[2, 2], [2, 2]], [[1]]]
    for side, result in zip(shapes, await asyncio.gather(*others), strict=True):
        assert result.outputs["y"].tolist() == [[2 * side] * side]
    await first
    await batcher.close()
