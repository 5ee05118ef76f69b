"""Runs of a model for suspects: the same answers, and the end of a process that is nobody else's."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.errors import DeadlineError, LostError, ServiceError
from serving.models.apart.helper import ROWS, START_SECONDS, ModelApart
from serving.models.backends.onnx_runtime import OnnxRuntimeBackend
from serving.models.batching.result import BatchResult
from tests.gateway.fakes import eventually
from tests.services.classifier.deadly import DEADLY, NAME
from tests.serving.scarce import SECONDS, spare_threads
from tests.tiny_models import SIDE, classifier_graph

LATER = 1e12


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier_graph(embedding=True))
    return path


@pytest.fixture
def apart(file: Path) -> Iterator[ModelApart]:
    helper = ModelApart(file, NAME)
    yield helper
    helper.close()


def rows(number: int, value: float | None = None) -> np.ndarray:
    shape = (number, 1, SIDE, SIDE)
    return np.random.default_rng(0).random(shape, np.float32) if value is None else np.full(shape, value, np.float32)


async def test_the_answers_are_those_of_this_process_and_a_dead_one_is_started_again(
    file: Path, apart: ModelApart
) -> None:
    here = OnnxRuntimeBackend(file, threads=1)
    asked = rows(2 * ROWS + 1)
    expected = here.run(asked)
    for _ in range(2):
        result = await apart.run(asked, LATER)
        assert result.outputs.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(result.outputs[name], values, rtol=1e-6)
        with pytest.raises(LostError, match="ended the process that ran the model") as caught:
            await apart.run(rows(1, DEADLY), LATER)
        assert caught.value.suspect


async def test_what_the_model_does_not_take_is_an_error_and_not_an_end(apart: ModelApart) -> None:
    with pytest.raises(ServiceError, match="the model did not run"):
        await apart.run(np.zeros((1, 2, 3, 4), np.float32), LATER)
    assert len((await apart.run(rows(1), LATER)).outputs["logits"]) == 1


async def test_nobody_waits_beyond_the_deadline(apart: ModelApart) -> None:
    with pytest.raises(DeadlineError):
        await apart.run(rows(1), time.monotonic())


async def test_no_process_is_started_for_who_would_be_gone_before_it_had(file: Path) -> None:
    helper = ModelApart(file, "no.such.program")
    with pytest.raises(DeadlineError, match="too little time"):
        await helper.run(rows(1), time.monotonic() + START_SECONDS / 2)


async def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    helper = ModelApart(tmp_path / "nothing.onnx")
    with pytest.raises(LostError):
        await helper.run(rows(1), LATER)
    helper.close()


async def test_a_run_needs_no_thread_that_was_not_there_before(apart: ModelApart) -> None:
    with spare_threads():
        assert len((await apart.run(rows(1), LATER)).outputs["logits"]) == 1


class HeldUp:
    """In the place of the process: it has the answer when it may."""

    def __init__(self, helper: ModelApart, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        self.may = threading.Event()
        monkeypatch.setattr(helper, "_ask", self._ask)

    def _ask(self, part: np.ndarray) -> dict[str, np.ndarray]:
        self.asked.append(len(part))
        assert self.may.wait(60)
        return {"logits": np.zeros((len(part), 7), np.float32)}


@pytest.fixture
def held_up(apart: ModelApart, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldUp]:
    process = HeldUp(apart, monkeypatch)
    yield process
    process.may.set()


async def leave(task: asyncio.Task[BatchResult]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_rows_of_who_leaves_before_its_turn_are_let_go_of(apart: ModelApart, held_up: HeldUp) -> None:
    first = asyncio.create_task(apart.run(rows(1), LATER))
    await eventually(lambda: held_up.asked == [1])
    asked = rows(ROWS)
    lies_there = weakref.ref(asked)
    second = asyncio.create_task(apart.run(asked, LATER))
    await asyncio.sleep(0)
    del asked
    assert lies_there() is not None
    await leave(second)
    del second
    gc.collect()
    assert lies_there() is None
    held_up.may.set()
    await first


async def test_a_run_of_who_has_left_goes_no_further(apart: ModelApart, held_up: HeldUp) -> None:
    leaving = asyncio.create_task(apart.run(rows(3 * ROWS), LATER))
    await eventually(lambda: held_up.asked == [ROWS])
    await leave(leaving)
    held_up.may.set()
    await apart.run(rows(1), LATER)
    assert held_up.asked == [ROWS, 1]


def test_its_thread_ends_with_it(file: Path) -> None:
    before = set(threading.enumerate())
    helper = ModelApart(file, NAME)
    (own,) = {t for t in threading.enumerate() if t.name.startswith("run-apart")} - before
    helper.close()
    own.join(SECONDS)
    assert not own.is_alive()
