"""Makes training batches ahead of time, in processes of their own if so wished."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import fields

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from modelkit.detector.dataset import Batch, Sampler

AHEAD = 3
"""Batches that each process makes ahead of the training."""


class _Steps(Dataset[tuple[Tensor, ...]]):
    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        batch = self._sampler.batch(step)
        return tuple(torch.from_numpy(getattr(batch, field.name)) for field in fields(Batch))


def feed(
    sampler: Sampler, first: int, last: int, workers: int, *, pinned: bool
) -> Generator[tuple[Tensor, ...], None, None]:
    """The batches of the steps `first` to `last`, in order, as tensors in the order of `Batch`'s fields.

    Args:
        sampler: draws them.
        first: step of the first batch.
        last: step before which it ends.
        workers: processes; 0 makes each batch here when it is asked for. Neither their number nor their speed
            changes what comes.
        pinned: leave them in memory that a GPU copies from without waiting.
    """
    ahead = {"prefetch_factor": AHEAD, "multiprocessing_context": "spawn"} if workers else {}
    steps = range(first, last)
    yield from DataLoader(
        _Steps(sampler), batch_size=None, sampler=steps, num_workers=workers, pin_memory=pinned, **ahead
    )
