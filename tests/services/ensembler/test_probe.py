"""Which versions stand behind the recipe, as learned from probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.ensembler import probe
from serving.errors import OverloadedError, ServiceError
from tests.processes import free_port
from tests.services.ensembler.conftest import Caller, Start
from tests.services.ensembler.fakes import FakeClassifier, Models, serving


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def asked(fake: FakeClassifier, times: int) -> None:
    """Returns when `fake` has been asked so many times more."""
    target = len(fake.requests) + times

    async def enough() -> bool:
        return len(fake.requests) >= target

    await eventually(enough)


async def all_available(caller: Caller) -> None:
    async def found() -> bool:
        return all(await caller.available())

    await eventually(found)


async def test_a_model_that_comes_later_is_found(models: Models, start: Start) -> None:
    port = free_port()
    recipe = models.recipe.model_dump()
    recipe["classifiers"] += ({"name": "late", "address": f"127.0.0.1:{port}"},)
    caller = await start(recipe, probe_interval=0.05)
    pipeline = await caller.pipeline()
    late = pipeline.entries[-1]
    assert (late.model.name, late.model.version, late.model.digest, late.available) == ("late", "", "", False)
    assert pipeline.fingerprint == ""

    async def found() -> bool:
        return bool((await caller.pipeline()).fingerprint)

    async with serving(FakeClassifier("late"), port):
        await eventually(found)
        assert await caller.available() == [True] * 4


async def test_a_model_that_hangs_keeps_nobody_from_starting(
    models: Models, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_TIMEOUT_SECONDS", 300)
    recipe = models.recipe.model_dump()
    recipe["classifiers"][1]["timeout"] = 300
    models.second.gate.clear()
    async with asyncio.timeout(30):
        caller = await start(recipe, probe_interval=0.05)
    assert await caller.available() == [True, True, False]
    models.second.gate.set()
    await all_available(caller)


async def test_a_model_that_begins_to_hang_is_found_out(
    models: Models, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "_TIMEOUT_SECONDS", 0.2)
    caller = await start(probe_interval=0.02, stale_after=0.02)
    models.second.gate.clear()

    async def lost() -> bool:
        said = "second did not answer: no answer to a look within 0.2 s" in caplog.text
        return said and await caller.available() == [True, True, False]

    await eventually(lost)


async def test_only_models_that_are_missing_or_silent_are_probed(models: Models, start: Start) -> None:
    caller = await start(probe_interval=0.01, stale_after=3600)
    models.first.error = ServiceError("broken")
    await caller.recognize()
    await asked(models.first, 3)
    assert [len(fake.requests) for fake in (models.detector, models.second)] == [1, 1]


async def test_a_model_that_is_busy_is_still_there(models: Models, start: Start) -> None:
    caller: Caller = await start(probe_interval=0.01, stale_after=0.01)
    await all_available(caller)
    models.second.error = OverloadedError("the queue is full", 1)
    await asked(models.second, 3)
    assert await caller.available() == [True, True, True]
