"""Asks all classifiers at once, and keeps enough of the caller's time to answer without those that are late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from ferry.v1 import types_pb2
from services.ensembler.checks import NonsenseError
from services.ensembler.models import ClassifierModel, Judgement
from serving.errors import ServiceError
from serving.rpc import context as request_context

Outcome: TypeAlias = Judgement | ServiceError | NonsenseError

RESERVE_SHARE = 0.1
"""Of the time left when the classifiers are asked, the part kept for an answer without those that are late."""
MAX_RESERVE_SECONDS = 0.25


async def ask_all(
    classifiers: Sequence[ClassifierModel],
    crops: types_pb2.Tensor,
    augment: bool,
    patience: float,
    *,
    again: bool = False,
) -> list[Outcome]:
    """One batch with all crops for each classifier, in parallel.

    Args:
        classifiers: whom to ask.
        crops: uint8 [N, size, size, 3], N 1 or more.
        augment: average over views.
        patience: as for serving.rpc.upstream.Upstream.call.
        again: likewise.

    Returns:
        One entry for each classifier, in their order; an error where one failed, was late or talked nonsense.
        Cancelling this cancels the calls.
    """
    timeout = _time_to_wait()
    outcomes = await asyncio.gather(
        *(model.classify(crops, augment, timeout, patience, again) for model in classifiers), return_exceptions=True
    )
    checked: list[Outcome] = []
    unexpected: list[BaseException] = []
    for model, outcome in zip(classifiers, outcomes, strict=True):
        if isinstance(outcome, (ServiceError, NonsenseError)):
            model.complain(outcome)
        elif isinstance(outcome, BaseException):
            unexpected.append(outcome)
            continue
        checked.append(outcome)
    if unexpected:
        del outcomes, outcome  # an error's traceback holds this frame
        raise unexpected.pop(0)
    return checked


def _time_to_wait() -> float:
    """Seconds: what the request has left, less the reserve."""
    context = request_context.current.get()
    if context is None:
        return float("inf")
    remaining = context.remaining()
    return remaining - min(remaining * RESERVE_SHARE, MAX_RESERVE_SECONDS)
