"""Models are loaded, found, swapped under traffic and drained; a bad version never takes over."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.errors import NotFoundError
from serving.models import best, tuning
from serving.models import host as host_module
from serving.models.backends.gpu import GpuMissingError
from serving.models.host import warm_sizes
from serving.models.tuning import Candidate, Measurement
from serving.repository.manifest import Activation, InputSpec, Label, OutputSpec, Task
from serving.repository.repository import InvalidModelError, ModelRepository
from serving.telemetry import metrics
from tests.processors import computes_bf16
from tests.serving.models.backends import fake_gpu
from tests.serving.models.hosts import LATER, NEW, OLD, Host, ask, served, until
from tests.tiny_models import (
    SIDE,
    add_variant,
    classifier_graph,
    classifier_manifest,
    detector_graph,
    detector_manifest,
    publish,
)


async def test_the_latest_version_answers_where_it_is_asked_for(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    assert await ask(await host("tiny")) == ("1", 3)
    running = await host("tiny:latest")
    assert await ask(running) == ("2", 0)
    with running.use() as model:
        digest = model.manifest.digest[:12]
    assert metrics.MODEL_INFO.labels("tiny", "2", digest, "onnxruntime:cpu", "fp32")._value.get() == 1


async def test_several_versions_answer_side_by_side_and_the_first_is_the_default(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    publish(tmp_path, classifier_manifest("other"), classifier_graph(NEW))
    running = await host("tiny:1+2,other")
    assert await ask(running) == ("1", 3)
    assert await ask(running, "tiny", "2") == ("2", 0)
    assert await ask(running, "other") == ("1", 0)


@pytest.mark.parametrize(("allowed", "runs"), [(16, [8, 8, 4]), (4, [4] * 5)])
async def test_a_classifiers_runs_on_a_cpu_take_as_many_rows_as_pay(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, allowed: int, runs: list[int]
) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph(OLD))
    running = await host("tiny", max_batch=allowed)
    made: list[int] = []
    with running.use() as model:
        run = model.batcher._run
        monkeypatch.setattr(model.batcher, "_run", lambda rows: made.append(len(rows)) or run(rows))
        await model.batcher.submit(np.ones((20, 1, SIDE, SIDE), np.float32), LATER)
    assert made == runs


@pytest.mark.parametrize(("name", "version"), [("tiny", "9"), ("nobody", ""), ("x" * 100_000, "\n" * 100_000)])
async def test_what_is_not_served_is_not_found_and_the_message_is_short_and_lists_what_is(
    tmp_path: Path, host: Host, name: str, version: str
) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph())
    running = await host("tiny")
    with pytest.raises(NotFoundError, match="there is tiny 1") as error:
        await ask(running, name, version)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("policies", ["absent", "tiny:7"])
async def test_a_service_does_not_start_without_its_model(tmp_path: Path, host: Host, policies: str) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph())
    with pytest.raises(NotFoundError, match=r"tiny|1"):
        await host(policies)


async def test_a_detector_is_not_served_as_a_classifier(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    with pytest.raises(InvalidModelError, match="made to detect"):
        await host("detector")


def spec(**changes: Any) -> InputSpec:
    return classifier_manifest().input.model_copy(update=changes)


BROKEN: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "no model at all": ({}, b"garbage", "cannot load"),
    "one label too few": ({"labels": [Label(name="happy", expression="happy")]}, classifier_graph(), "1 label"),
    "one label too many": ({}, classifier_graph((1, 2, 3, 4, 5, 6)), "7 label"),
    "an output it does not have": (
        {"output": OutputSpec(scores="scores", activation=Activation.SOFTMAX)},
        classifier_graph(),
        "no output 'scores'; it has logits",
    ),
    "an embedding it does not have": (
        {"output": OutputSpec(scores="logits", activation=Activation.SOFTMAX, embedding="embedding")},
        classifier_graph(),
        "no output 'embedding'",
    ),
    "another input size": ({}, classifier_graph(side=32), "does not run as its manifest says"),
    "no batches": ({}, classifier_graph(rows=1), "does not run as its manifest says"),
}


@pytest.mark.parametrize(("changes", "graph", "says"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_model_that_does_not_do_what_its_manifest_says_is_not_served(
    tmp_path: Path, host: Host, changes: dict[str, Any], graph: bytes, says: str
) -> None:
    publish(tmp_path, classifier_manifest(**changes), graph)
    with pytest.raises(Exception, match=says):
        await host("tiny")


async def test_a_detector_with_another_number_of_labels_is_not_served(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, detector_manifest(), detector_graph(labels=3))
    with pytest.raises(InvalidModelError, match=r"7 label"):
        await host("detector", Task.DETECT)


async def test_a_new_version_takes_over_under_traffic_with_no_failed_request(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    answers: list[tuple[str, int]] = []
    stop = asyncio.Event()

    async def caller() -> None:
        while not stop.is_set():
            answers.append(await ask(running))

    callers = [asyncio.create_task(caller()) for _ in range(8)]
    await until(lambda: len(answers) > 50)
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    await running.refresh()
    await until(lambda: answers.count(("2", 0)) > 50)
    stop.set()
    await asyncio.gather(*callers)  # any failed request raises here
    assert set(answers) == {("1", 3), ("2", 0)}
    await until(lambda: served(running) == [("tiny", "2")])


async def test_replicas_on_one_machine_load_a_new_version_one_after_the_other_and_rest_meanwhile(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most, rests = 0, 0, list[float]()
    real = tuning.open_fastest

    def load(*arguments: Any, **options: Any) -> Any:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.05)
        loaded = real(*arguments, **options)
        at_work -= 1
        return loaded

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(host_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=rests.append))
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    replicas = [await host("tiny:latest") for _ in range(3)]
    assert not any(rests), "nobody is served yet"
    monkeypatch.setattr(tuning, "open_fastest", load)
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    await asyncio.gather(*(replica.refresh() for replica in replicas))
    assert [await ask(replica) for replica in replicas] == [("2", 0)] * 3
    assert most == 1
    assert sum(rest > 0 for rest in rests) == 3 * len(warm_sizes(4))


async def test_the_old_version_goes_only_when_its_last_request_is_answered(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    with running.use() as old:
        publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
        await running.refresh()
        assert await ask(running) == ("2", 0)
        result = await old.batcher.submit(np.ones((1, 1, SIDE, SIDE), np.float32), LATER)
        assert int(result.outputs["logits"].argmax()) == 3


async def test_the_repository_is_followed_in_the_background(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest", reload_interval=0.01)
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    await until(lambda: ("tiny", "2") in served(running))


async def test_a_pinned_version_stays(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:1")
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    await running.refresh()
    assert await ask(running) == ("1", 3)


@pytest.mark.parametrize(("changes", "graph", "says"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_bad_new_version_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, host: Host, changes: dict[str, Any], graph: bytes, says: str
) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    publish(tmp_path, classifier_manifest(version="2", **changes), graph)
    await running.refresh()
    assert await ask(running) == ("1", 3)
    assert served(running) == [("tiny", "1")]


async def test_a_refused_version_is_tried_again_when_its_files_change(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    graph = classifier_graph(NEW)
    version = publish(tmp_path, classifier_manifest(version="2"), graph)
    (version / "model.onnx").write_bytes(graph[:100])  # still being copied
    await running.refresh()
    assert await ask(running) == ("1", 3)
    (version / "model.onnx").write_bytes(graph)
    await running.refresh()
    assert await ask(running) == ("2", 0)


async def test_a_good_version_below_a_bad_one_takes_over(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    running = await host("tiny:latest")
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    publish(tmp_path, classifier_manifest(version="3"), b"garbage")
    await running.refresh()
    assert await ask(running) == ("2", 0)


async def test_a_version_that_appears_changes_nothing_until_it_is_promoted(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(OLD))
    running = await host("tiny")
    publish(tmp_path, classifier_manifest(version="3"), classifier_graph(NEW))
    await running.refresh()
    assert await ask(running) == ("2", 3)
    assert await ask(await host("tiny")) == ("2", 3), "nor does a restart"
    (tmp_path / "tiny" / "labels.json").write_text('{"stable": "3"}')
    await running.refresh()
    assert await ask(running) == ("3", 0)


async def test_a_stable_version_that_is_gone_is_served_on_and_nothing_takes_its_place(
    tmp_path: Path, host: Host
) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    (tmp_path / "tiny" / "labels.json").write_text('{"stable": "1"}')
    running = await host("tiny")
    shutil.rmtree(tmp_path / "tiny" / "1")
    await running.refresh()
    assert await ask(running) == ("1", 3)


async def test_a_swap_measures_nothing_beside_live_load_and_runs_as_the_version_before(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    first = ModelRepository(tmp_path).open("tiny", "1")
    ways = [("onnxruntime", "fp32", 2.0), ("openvino", "fp32", 1.0), ("openvino", "bf16", 9.0)]
    tuning.write(first, [Measurement(Candidate(b, p, 2, 1), 1 / ms, ms, 0.0) for b, p, ms in ways])
    running = await host("tiny:latest", backend="auto", threads=2)
    second = publish(tmp_path, classifier_manifest(version="2"), classifier_graph(NEW))
    await running.refresh()
    assert await ask(running) == ("2", 0)
    with running.use() as model:
        assert (model.how.backend, model.how.precision, model.how.threads) == ("openvino", "fp32", 2)
    assert not list(second.glob("tuning-*.json"))
    await host("tiny:latest", backend="auto")
    assert list(second.glob("tuning-*.json")), "the next start measures, before it serves"


@computes_bf16
async def test_a_swap_keeps_a_reduced_precision_only_where_it_answers_as_float32_does(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "has_bf16", lambda: True)
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph(OLD))
    first = ModelRepository(tmp_path).open("tiny", "1")
    ways = [("onnxruntime", "fp32", 2.0), ("openvino", "fp32", 3.0), ("openvino", "bf16", 1.0)]
    tuning.write(first, [Measurement(Candidate(b, p, 1, 1), 1 / ms, ms, 0.0) for b, p, ms in ways])
    running = await host("tiny:latest", backend="auto", optimized=True)
    for version, largest, precision in (("2", 1.0, "bf16"), ("3", -1.0, "fp32")):
        monkeypatch.setattr(best, "MAX_REDUCED_DIFFERENCE", largest)
        publish(tmp_path, classifier_manifest(version=version), classifier_graph(NEW))
        await running.refresh()
        assert await ask(running) == (version, 0)
        with running.use() as model:
            assert (model.backend.name, model.backend.precision) == ("openvino", precision)


async def test_stop_finishes_what_is_queued(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph(OLD))
    running = await host("tiny")
    asked = [asyncio.create_task(ask(running)) for _ in range(20)]
    await asyncio.sleep(0)
    await running.stop()
    assert await asyncio.gather(*asked) == [("1", 3)] * 20
    assert running.models() == []


@computes_bf16
async def test_what_tuning_found_fastest_is_used(tmp_path: Path, host: Host) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph())
    stored = ModelRepository(tmp_path).open("tiny", "1")
    kinds = [("onnxruntime", "fp32", 2.0), ("openvino", "fp32", 1.0), ("openvino", "bf16", 0.5)]
    tuning.write(stored, [Measurement(Candidate(b, p, 1, 1), 1 / ms, ms, 0.0) for b, p, ms in kinds])
    for optimized, precision in ((False, "fp32"), (True, "bf16")):
        running = await host("tiny", backend="auto", optimized=optimized)
        with running.use() as model:
            assert (model.backend.name, model.backend.precision) == ("openvino", precision)
    forced = await host("tiny", backend="onnxruntime")
    with forced.use() as model:
        assert model.backend.name == "onnxruntime"


async def test_a_start_says_how_its_model_is_run(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph())
    how = Candidate("onnxruntime", "fp32", threads=1, batch=4, runs=2, rest=2)
    monkeypatch.setattr(tuning, "choose", lambda *_, **__: how)
    with caplog.at_level("INFO", "serving.models.host"):
        await host("tiny")
    (said,) = [record.__dict__ for record in caplog.records if record.message == "loaded tiny 1"]
    names = ("backend", "precision", "runs", "threads", "threads_at_rest", "rows")
    assert [said[name] for name in names] == ["onnxruntime", "fp32", 2, 1, 2, 4]


async def test_a_gpu_that_is_wanted_and_missing_ends_the_start(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu.remove(monkeypatch)
    publish(tmp_path, classifier_manifest(), classifier_graph(OLD))
    with pytest.raises(GpuMissingError, match="no NVIDIA GPU"):
        await host("tiny", backend="auto", device="cuda")
    running = await host("tiny", backend="auto", device="auto")
    assert await ask(running) == ("1", 3)


@pytest.mark.parametrize(("optimized", "precision", "column"), [(False, "fp32", 3), (True, "int8", 0)])
async def test_the_quantized_variant_answers_only_where_reduced_precision_is_allowed(
    tmp_path: Path, host: Host, optimized: bool, precision: str, column: int
) -> None:
    directory = publish(tmp_path, classifier_manifest(), classifier_graph(OLD))
    add_variant(directory, classifier_graph(NEW), ["onnxruntime"])
    stored = ModelRepository(tmp_path).open("tiny", "1")
    how = [Candidate("onnxruntime", "fp32", 1, 1), Candidate("onnxruntime", "int8", 1, 1, "int8")]
    tuning.write(stored, [Measurement(c, 1.0, ms, 1.0) for c, ms in zip(how, (2.0, 1.0), strict=True)])
    running = await host("tiny", optimized=optimized)
    assert await ask(running) == ("1", column)
    digest = stored.manifest.digest[:12]
    assert metrics.MODEL_INFO.labels("tiny", "1", digest, "onnxruntime:cpu", precision)._value.get() == 1


async def test_an_untuned_model_is_measured_once_and_the_result_kept(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)
    version = publish(tmp_path, classifier_manifest(), classifier_graph())
    await host("tiny", backend="auto")
    (kept,) = version.glob("tuning-*.json")
    assert {m["candidate"]["backend"] for m in json.loads(kept.read_text())["measurements"]} >= {"onnxruntime"}
    before = kept.stat().st_mtime_ns
    await host("tiny", backend="auto")
    assert kept.stat().st_mtime_ns == before


async def test_measurements_for_other_thread_counts_are_kept_beside_new_ones(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)
    publish(tmp_path, classifier_manifest(), classifier_graph())
    stored = ModelRepository(tmp_path).open("tiny", "1")
    tuning.write(stored, [Measurement(Candidate("onnxruntime", "fp32", 64, 1), 1.0, 1.0, 0.0)])
    await host("tiny", backend="auto", threads=1)
    assert {m.candidate.threads for m in tuning.read(stored)} == {1, 64}


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1]), (4, [1, 2, 3, 4]), (20, [1, 2, 3, 4, 8, 16, 20])])
def test_warm_sizes(limit: int, sizes: list[int]) -> None:
    assert warm_sizes(limit) == sizes
