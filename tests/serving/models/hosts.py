"""Hosts of models that load in milliseconds, and what tests ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from serving.models.host import ModelHost
from tests.tiny_models import SIDE

OLD, NEW = (0, 0, 0, 4, 0, 0, 0), (4, 0, 0, 0, 0, 0, 0)
LATER = 1e9
Host = Callable[..., Awaitable[ModelHost]]


async def ask(host: ModelHost, name: str = "", version: str = "") -> tuple[str, int]:
    """Version that answered and the column of its highest score."""
    with host.use(name, version) as model:
        result = await model.batcher.submit(np.ones((1, 1, SIDE, SIDE), np.float32), LATER)
        return model.version().version, int(result.outputs["logits"].argmax())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def served(host: ModelHost) -> list[tuple[str, str]]:
    return [(m.manifest.name, m.manifest.version) for m in host.models()]
