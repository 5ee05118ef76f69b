"""What comes after a run is done beside the next one; nobody's answer depends on what becomes of that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt
import pytest

from serving.models.backends import deferred
from serving.models.backends.base import Rows
from serving.models.batching.batcher import MicroBatcher
from serving.models.batching.policy import BatchPolicy
from tests.serving.models.batching.asking import answer, ask, queued, settle
from tests.serving.models.batching.gated import POISON, GatedModel


class OverlappingModel(GatedModel):
    """Does what its thread has put off once a run has begun, but for one that fails before."""

    def __call__(self, rows: Rows) -> dict[str, npt.NDArray[np.float32]]:
        if (rows == POISON).any():
            raise RuntimeError("a row that the model cannot digest")
        deferred.catch_up()
        return super().__call__(rows)


@pytest.fixture
def model() -> OverlappingModel:
    return OverlappingModel()


@pytest.fixture
async def batcher(model: OverlappingModel) -> AsyncIterator[MicroBatcher]:
    made = MicroBatcher(model, BatchPolicy(max_batch=1), model="gated", version="7", overlaps=True)
    made.start()
    yield made
    model.finish(100)
    await made.close()


async def test_an_answer_arrives_while_the_next_run_computes(model: OverlappingModel, batcher: MicroBatcher) -> None:
    first = ask(batcher, 1)
    await model.started()
    second = ask(batcher, 2)
    await queued(batcher, 2)
    model.finish()
    await model.started()
    assert answer(await settle(first)) == [2]
    assert not second.done()
    model.finish()
    assert answer(await settle(second)) == [4], "the last one has nobody after it"


async def test_a_next_run_that_fails_before_it_computes_costs_nobody_else_an_answer(
    model: OverlappingModel, batcher: MicroBatcher
) -> None:
    first = ask(batcher, 1)
    await model.started()
    broken, third = ask(batcher, POISON), ask(batcher, 3)
    await queued(batcher, 3)
    model.finish(2)
    assert answer(await settle(first)) == [2]
    with pytest.raises(Exception, match="could not process"):
        await settle(broken)
    assert answer(await settle(third)) == [6]


async def test_who_closes_waits_for_what_was_put_off(model: OverlappingModel, batcher: MicroBatcher) -> None:
    asked = [ask(batcher, value) for value in (1, 2, 3)]
    await model.started()
    await queued(batcher, 3)
    model.finish(3)
    await batcher.close()
    assert [answer(await settle(one)) for one in asked] == [[2], [4], [6]]
