"""A batcher in front of a model that waits at a gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import numpy.typing as npt
import pytest

from serving.models.backends.base import Rows
from serving.models.batching.batcher import MicroBatcher
from serving.models.batching.policy import BatchPolicy
from tests.serving.models.batching.asking import Make
from tests.serving.models.batching.gated import GatedModel


@pytest.fixture
def model() -> GatedModel:
    return GatedModel()


@pytest.fixture
async def make(model: GatedModel) -> AsyncIterator[Make]:
    """Builds started batchers; afterwards every gate opens and they close."""
    made: list[MicroBatcher] = []

    def build(run: Callable[[Rows], dict[str, npt.NDArray[np.float32]]] = model, **policy: float) -> MicroBatcher:
        batcher = MicroBatcher(run, BatchPolicy(**policy), model="gated", version="7")  # type: ignore[arg-type]
        batcher.start()
        made.append(batcher)
        return batcher

    yield build
    model.finish(10_000)
    await asyncio.gather(*(batcher.close() for batcher in made))
