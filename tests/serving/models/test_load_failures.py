"""What a host does about a version that cannot be loaded, comes back, or takes minutes to load."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from serving import daemon_thread
from serving.models import tuning
from serving.models.load_failures import LoadFailures
from tests.serving.models.hosts import NEW, OLD, Host, ask, served, until
from tests.tiny_models import classifier_graph, classifier_manifest, publish


def attempts() -> float | None:
    return REGISTRY.get_sample_value("ferry_model_load_failures", {"model": "tiny"})


async def test_a_version_that_could_not_be_loaded_for_a_while_is_tried_again_and_takes_over(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    now = 0.0
    running._failures = LoadFailures(clock=lambda: now)
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    tried = 0
    well = tuning.open_fastest

    def out_of_memory(*arguments: Any, **options: Any) -> Any:
        nonlocal tried
        tried += 1
        raise MemoryError

    monkeypatch.setattr(tuning, "open_fastest", out_of_memory)
    pauses = []
    for expected in range(1, 10):
        await running.refresh()
        await running.refresh()
        assert (tried, attempts()) == (expected, expected)
        failure = running.load_failure("tiny")
        assert failure is not None
        assert (failure.version, failure.attempts) == ("2", expected)
        pauses.append(running._failures._failures["tiny", "2"].again_at - now)
        now += pauses[-1]
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    monkeypatch.setattr(tuning, "open_fastest", well)
    await running.refresh()
    assert await ask(running) == ("2", 0)
    assert running.load_failure("tiny") is None
    assert attempts() == 0


async def test_a_version_that_could_not_be_loaded_and_is_taken_back_is_forgotten(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    bad = publish(tmp_path, classifier_manifest(version="2"), b"garbage")
    await running.refresh()
    assert attempts() == 1
    shutil.rmtree(bad)
    await running.refresh()
    assert running.load_failure("tiny") is None
    assert attempts() == 0


async def test_what_a_killed_writer_left_is_no_reason_to_try_again(
    tmp_path: Path, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    bad = publish(tmp_path, classifier_manifest(version="2"), b"garbage")
    await running.refresh()
    (bad / ".tuned-x.json.0123456789abcdef.new").write_text("{")
    await running.refresh()
    assert caplog.text.count("2 is not taken into service") == 1


async def test_a_version_that_comes_back_while_it_drains_keeps_its_series(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    with running.use() as first:
        labels = first.labels()
        publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
        await running.refresh()
        assert await running._take_over("tiny", "1")  # as after a rollback
        assert await ask(running) == ("1", 3)
    await until(lambda: not running._draining)
    assert REGISTRY.get_sample_value(
        "ferry_model_info", dict(zip(("model", "version", "digest", "backend", "precision"), labels, strict=True))
    )
    assert served(running) == [("tiny", "1")]


async def test_a_host_that_stops_leaves_a_version_that_is_being_loaded(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest", reload_interval=0.01)
    loading, go = threading.Event(), threading.Event()

    def endless(*arguments: Any, **options: Any) -> Any:
        loading.set()
        go.wait(60)
        raise MemoryError

    monkeypatch.setattr(tuning, "open_fastest", endless)
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    await until(loading.is_set)
    async with asyncio.timeout(20):
        await running.stop()
    assert daemon_thread.any_left()
    go.set()
    await until(lambda: not daemon_thread.any_left())
