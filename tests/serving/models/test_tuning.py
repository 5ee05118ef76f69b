"""Measurements are kept for this machine and this model, and believed only where they make sense."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.models import kept, libraries, measuring, tuning
from serving.models.tuning import Candidate, Measurement
from serving.repository.manifest import Activation, OutputSpec, Task
from serving.repository.repository import InvalidModelError, ModelRepository, StoredModel
from tests.tiny_models import (
    add_variant,
    classifier_graph,
    classifier_manifest,
    detector_graph,
    detector_manifest,
    publish,
)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    return ModelRepository(tmp_path / "models").open("tiny", "1")


def measured(run_ms: float, backend: str = "onnxruntime", precision: str = "fp32", **more: Any) -> Measurement:
    variant = precision if precision == "int8" else "default"
    batch, runs = more.get("batch", 1), more.get("runs", 1)
    candidate = Candidate(backend, precision, more.get("threads", 1), batch, variant, runs)
    rate, cpu_ms = batch * runs * 1000 / run_ms, more.get("cpu_ms", 0.0)
    return Measurement(candidate, rate, run_ms, more.get("difference", 0.0), more.get("passed"), cpu_ms)


def best(*found: Measurement, reduced: bool = True) -> tuple[str, str, str]:
    """Arithmetic of the way that is chosen."""
    how = tuning.best_way(found, reduced=reduced)
    assert how is not None
    return how.arithmetic


@pytest.fixture
def quantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredModel:
    """A model with an int8 file that passed its gate on ONNX Runtime alone; it answers another expression."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    add_variant(directory, classifier_graph((4, 0, 0, 0, 0, 0, 0)), ("onnxruntime",))
    return ModelRepository(tmp_path / "models").open("tiny", "1")


def test_every_candidate_is_measured_against_float32(stored: StoredModel) -> None:
    found = tuning.measure(stored, tuning.candidates(1, (1, 2), reduced=True), seconds=0.001)
    assert [m.candidate.batch for m in found] == [1, 2] * (len(found) // 2)
    assert {m.candidate.backend for m in found} == {"onnxruntime", "openvino"}
    assert all(m.run_ms > 0 and m.rows_per_second > 0 and m.difference < 0.02 for m in found)


def test_a_detector_can_be_measured_too(tmp_path: Path) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    stored = ModelRepository(tmp_path).open("detector", "1")
    assert len(tuning.measure(stored, tuning.candidates(1, (1,), reduced=False), seconds=0.001)) == 2


def test_what_does_not_answer_as_its_manifest_says_is_not_measured(tmp_path: Path) -> None:
    output = OutputSpec(scores="nope", activation=Activation.SOFTMAX)
    publish(tmp_path, classifier_manifest(output=output), classifier_graph())
    stored = ModelRepository(tmp_path).open("tiny", "1")
    with pytest.raises(InvalidModelError, match="tiny 1 has no output 'nope'; it has logits"):
        tuning.measure(stored, tuning.candidates(1, (1,), reduced=False), seconds=0.001)


def test_the_probe_is_the_same_every_time_and_normalised() -> None:
    manifest = classifier_manifest()
    first, second = (tuning.probe(manifest.input, 3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 1, 16, 16)
    assert first.dtype == np.float32


def test_the_fastest_in_float32_wins_unless_reduced_precision_is_allowed() -> None:
    found = [measured(3), measured(2, "openvino"), measured(1, "openvino", "bf16", difference=0.01)]
    assert best(*found, reduced=False) == ("openvino", "fp32", "default")
    assert best(*found) == ("openvino", "bf16", "default")
    assert best(*found[:2], measured(1, "openvino", "bf16", difference=0.5)) == ("openvino", "fp32", "default")
    assert tuning.best_way([], reduced=True) is None


def test_many_runs_of_one_thread_are_made_where_they_cost_less_cpu_and_all_threads_serve_one_row_at_rest() -> None:
    all_threads = measured(26, threads=2, cpu_ms=52)
    one_each, eights = (measured(ms, runs=2, batch=batch, cpu_ms=cpu) for ms, batch, cpu in ((49, 1, 49), (420, 8, 53)))
    assert tuning.best_way([all_threads, one_each, eights], reduced=False) == Candidate(
        "onnxruntime", "fp32", threads=1, batch=1, runs=2, rest=2
    )
    cheaper = measured(300, runs=2, batch=8, cpu_ms=38)
    how = tuning.best_way([all_threads, one_each, cheaper], reduced=False)
    assert how is not None
    assert (how.runs, how.batch, how.rest) == (2, 0, 2), "as many rows as the settings allow"


def test_a_detector_takes_several_rows_at_once_only_where_that_saves_a_good_part() -> None:
    alone, pairs, cheap_pairs = (
        measured(49, runs=2, batch=batch, cpu_ms=cpu) for batch, cpu in ((1, 49), (2, 47), (2, 38))
    )
    task = Task.DETECT
    assert [
        how.batch
        for found in ([alone, pairs], [alone, cheap_pairs])
        if (how := tuning.best_way(found, reduced=False, task=task)) is not None
    ] == [1, 0]


def test_where_no_more_rows_than_one_were_tried_only_a_detector_on_a_cpu_keeps_to_one() -> None:
    gpu = measured(3, "cuda", threads=0)
    batches = [
        how.batch
        for found, task in ((measured(5), Task.CLASSIFY), (measured(49), Task.DETECT), (gpu, Task.DETECT))
        if (how := tuning.best_way([found], reduced=False, task=task)) is not None
    ]
    assert batches == [0, 1, 0]


def test_a_classifier_with_one_run_at_a_time_takes_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)
    monkeypatch.setattr(tuning, "available_cpus", lambda: 2)
    publish(tmp_path / "models", classifier_manifest(), classifier_graph(idle_products=4))
    stored = ModelRepository(tmp_path / "models").open("tiny", "1")
    assert tuning.choose(stored, threads=1, runs=1).batch == 0
    assert {m.candidate.batch for m in tuning.read(stored)} <= {1, 8}


@pytest.mark.parametrize(("openvino_ms", "chosen"), [(46, "onnxruntime"), (40, "openvino")])
def test_a_detector_takes_the_backend_with_less_memory_unless_the_other_is_clearly_faster(
    openvino_ms: float, chosen: str
) -> None:
    found = [measured(49, cpu_ms=49), measured(openvino_ms, "openvino", cpu_ms=openvino_ms)]
    how = tuning.best_way(found, reduced=False, task=Task.DETECT)
    assert how is not None
    assert how.backend == chosen
    classifier = tuning.best_way(found, reduced=False)
    assert classifier is not None
    assert classifier.backend == "openvino"


def test_a_second_copy_of_a_model_is_not_held_for_a_millisecond_or_two() -> None:
    how = tuning.best_way([measured(5, threads=2, cpu_ms=10), measured(8, runs=2, cpu_ms=8)], reduced=False)
    assert how is not None
    assert (how.threads, how.runs, how.rest) == (1, 2, 0)


def test_an_arithmetic_is_judged_by_load_and_rest_together() -> None:
    slow_at_rest = [measured(60, threads=2, cpu_ms=50), measured(50, runs=2, cpu_ms=50)]
    even = [measured(26, "openvino", threads=2, cpu_ms=52), measured(51, "openvino", runs=2, cpu_ms=51)]
    assert best(*slow_at_rest, *even, reduced=False)[0] == "openvino"


@pytest.mark.parametrize(("share", "kept"), [(0.5, False), (0.97, True)])
def test_what_was_disturbed_is_used_and_not_kept(
    stored: StoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share: float, kept: bool
) -> None:
    shares = iter([1.0, share])
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: next(shares))
    assert tuning.choose(stored).backend in {"onnxruntime", "openvino"}
    assert bool(tuning.read(stored)) is kept
    assert ("busy machine" in caplog.text) is not kept


def test_processes_that_start_together_measure_once(stored: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)

    @contextmanager
    def behind_another(patience: float) -> Iterator[None]:
        """As where another process holds the lock, and has measured when it gives it back."""
        monkeypatch.setattr(tuning, "alone", lambda patience: nullcontext())
        tuning.choose(stored)
        monkeypatch.setattr(tuning, "measure", lambda *_, **__: pytest.fail("measured twice"))
        yield

    monkeypatch.setattr(tuning, "alone", behind_another)
    how = tuning.choose(stored)
    assert how == tuning.choose(stored)


def test_on_a_busy_machine_nothing_is_measured_and_float32_runs(
    quantized: StoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serving.models.tuning")
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 0.5)
    monkeypatch.setattr(tuning, "measure", lambda *_, **__: pytest.fail("measured"))
    how = tuning.choose(quantized, reduced=True)
    assert (how.precision, how.variant) == ("fp32", "default")
    assert tuning.load(quantized, how).run(tuning.probe(quantized.manifest.input, 1))
    assert not tuning.read(quantized)
    assert "others are at work" in caplog.text


def test_on_a_busy_machine_a_detector_runs_a_row_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 0.5)
    how = tuning.choose(ModelRepository(tmp_path).open("detector", "1"))
    assert (how.backend, how.precision, how.batch) == ("onnxruntime", "fp32", 1)


def test_a_machine_that_calms_down_in_time_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.3, 0.4, 0.99])
    monkeypatch.setattr(measuring, "cpu_share", lambda cpus: next(shares))
    assert measuring.quiet_share(2, patience=60) == 0.99
    monkeypatch.setattr(measuring, "cpu_share", lambda cpus: 0.3)
    assert measuring.quiet_share(2, patience=0) == 0.3


def test_a_start_measures_runs_side_by_side_and_the_next_one_does_not(
    stored: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "available_cpus", lambda: 2)
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)
    first = tuning.choose(stored)
    assert {(m.candidate.threads, m.candidate.runs) for m in tuning.read(stored)} == {(2, 1), (1, 2)}
    monkeypatch.setattr(tuning, "measure", lambda *_, **__: pytest.fail("measured again"))
    assert tuning.choose(stored) == first


def test_a_measurement_for_other_settings_does_not_decide(stored: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "available_cpus", lambda: 2)
    ways = [measured(5, backend, threads=t, runs=r, cpu_ms=cpu)
            for backend in ("onnxruntime", "openvino") for t, r, cpu in ((2, 1, 9), (1, 2, 8), (1, 1, 6))]  # fmt: skip
    tuning.write(stored, ways)
    monkeypatch.setattr(tuning, "measure", lambda *_, **__: pytest.fail("measured"))
    how = tuning.choose(stored, backend="onnxruntime")
    assert (how.threads, how.runs) == (1, 2), "one run at a time costs least, and leaves a CPU idle"
    assert tuning.choose(stored, backend="onnxruntime", threads=1, runs=1).runs == 1


def test_a_model_that_is_held_twice_answers_alike(stored: StoredModel) -> None:
    rows = tuning.probe(stored.manifest.input, 1)
    ways = [Candidate("openvino", "fp32", 1, 0, runs=2, rest=rest) for rest in (0, 2)]
    once, twice = (tuning.load(stored, way).run(rows)["logits"] for way in ways)
    np.testing.assert_allclose(once, twice, atol=1e-5)


def test_a_quantized_variant_is_offered_where_it_passed_its_gate(quantized: StoredModel) -> None:
    offered = tuning.candidates(1, (1,), reduced=True, manifest=quantized.manifest)
    assert Candidate("onnxruntime", "int8", 1, 1, "int8") in offered
    assert not any(c.variant == "int8" and c.backend == "openvino" for c in offered)
    in_full = tuning.candidates(1, (1,), reduced=False, manifest=quantized.manifest)
    assert {c.variant for c in in_full} == {"default"}
    found = tuning.measure(quantized, offered, seconds=0.001)
    assert max(m.difference for m in found if m.candidate.variant == "int8") > 0.1  # it is the other file that ran
    backend = tuning.load(quantized, Candidate("onnxruntime", "int8", 1, 1, "int8"))
    assert backend.precision == "int8"
    assert backend.run(tuning.probe(quantized.manifest.input, 1))["logits"].argmax() == 0


def test_measured_accuracy_decides_before_the_probe_does() -> None:
    full = measured(9)
    assert best(full, measured(1, "openvino", "bf16", difference=0.5, passed=True))[1] == "bf16"
    assert best(full, measured(1, "openvino", "bf16", difference=0.0, passed=False))[1] == "fp32"
    assert best(full, measured(1, "onnxruntime", "int8", difference=0.5))[1] == "int8"
    assert best(full, measured(1, "onnxruntime", "int8", passed=False))[1] == "fp32"
    assert best(full, measured(1, "onnxruntime", "int8", passed=True), reduced=False)[1] == "fp32"


def test_a_verdict_outlives_the_next_measurement(quantized: StoredModel) -> None:
    tuning.write(quantized, [measured(1), measured(1, "onnxruntime", "int8", passed=False)])
    offered = tuning.candidates(1, (1,), reduced=True, manifest=quantized.manifest)
    again = tuning.measure(quantized, offered, seconds=0.001)
    assert [m.passed for m in again if m.candidate.precision == "int8"] == [False]


def test_the_choice_keeps_to_what_is_asked(quantized: StoredModel) -> None:
    kinds = [("onnxruntime", "fp32", 4), ("openvino", "fp32", 3), ("openvino", "bf16", 2), ("onnxruntime", "int8", 1)]
    tuning.write(quantized, [measured(ms, backend, precision) for backend, precision, ms in kinds])
    assert tuning.choose(quantized, threads=1, runs=1, reduced=True).variant == "int8"
    assert tuning.choose(quantized, threads=1, runs=1).arithmetic == ("openvino", "fp32", "default")
    assert tuning.choose(quantized, threads=1, runs=1, backend="onnxruntime").precision == "fp32"
    assert tuning.choose(quantized, threads=1, runs=1, backend="openvino", reduced=True).backend == "openvino"


@pytest.mark.parametrize("processor", ["plain", "bf16"], indirect=True)
def test_bfloat16_is_offered_where_the_processor_multiplies_it(processor: str) -> None:
    offered = {c.precision for c in tuning.candidates(1, (1,), reduced=True) if c.device == "cpu"}
    assert offered == ({"fp32", "bf16"} if processor == "bf16" else {"fp32"})


@pytest.mark.parametrize("processor", ["plain", "bf16"], indirect=True)
def test_without_openvino_onnx_runtime_is_left(stored: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "installed", lambda: ("onnxruntime",))
    monkeypatch.setattr(kept, "installed_version", lambda _: "none")
    assert {c.backend for c in tuning.candidates(1, (1,), reduced=True) if c.device == "cpu"} == {"onnxruntime"}
    assert tuning.choose(stored, threads=1, device="cpu").backend == "onnxruntime"
    with pytest.raises(ValueError, match="openvino is not installed"):
        tuning.choose(stored, threads=1, backend="openvino")


def test_a_package_that_is_not_here_has_no_version() -> None:
    assert libraries.installed_version("no-such-package-of-ferry") == "none"


def test_files_kept_before_there_were_variants_are_read(stored: StoredModel) -> None:
    path = tuning.write(stored, [measured(2)])
    assert path is not None
    record = json.loads(path.read_text())
    del record["measurements"][0]["passed"]
    del record["measurements"][0]["cpu_ms"]
    for name in ("variant", "runs", "rest"):
        del record["measurements"][0]["candidate"][name]
    path.write_text(json.dumps(record))
    assert tuning.read(stored) == [measured(2)]


def test_what_was_written_is_read_again(stored: StoredModel) -> None:
    assert tuning.read(stored) == []
    path = tuning.write(stored, [measured(2), measured(1, "openvino")])
    assert path is not None
    assert path.parent == stored.directory
    assert tuning.read(stored) == [measured(2), measured(1, "openvino")]


def test_measurements_of_another_model_do_not_count(stored: StoredModel) -> None:
    path = tuning.write(stored, [measured(2)])
    assert path is not None
    record = json.loads(path.read_text()) | {"digest": "0" * 64}
    path.write_text(json.dumps(record))
    assert tuning.read(stored) == []


def test_where_the_model_folder_cannot_be_written_the_users_cache_is_used(stored: StoredModel, tmp_path: Path) -> None:
    elsewhere = StoredModel(stored.manifest, tmp_path / "a file")
    elsewhere.directory.write_text("not a folder")
    path = tuning.write(elsewhere, [measured(2)])
    assert path is not None
    assert path.is_relative_to(tmp_path / "cache")
    assert tuning.read(elsewhere) == [measured(2)]


HOSTILE: dict[str, Any] = {
    "not text": b"\xff",
    "deep": b"[" * 100_000,
    "a list": [],
    "no measurements": {},
    "unknown backend": {"backend": "shell"},
    "unknown precision": {"precision": "int1"},
    "threads as text": {"threads": "many"},
    "negative threads": {"threads": -1},
    "no runs": {"runs": 0},
    "a billion threads at rest": {"rest": 10**9},
    "no rows a second": {"rows_per_second": 0.0},
    "a billion threads": {"threads": 10**9},
    "a variant it does not have": {"variant": "int8", "precision": "int8"},
    "a file as a variant": {"variant": "../../secret.onnx"},
    "a variant in another precision": {"precision": "int8"},
    "a verdict in words": {"passed": "certainly"},
    "no time": {"run_ms": None},
    "NaN time": {"run_ms": float("nan")},
    "unknown field": {"command": "rm"},
}


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_damaged_file_counts_as_none(stored: StoredModel, damage: Any) -> None:
    path = tuning.write(stored, [measured(2)])
    assert path is not None
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        record = json.loads(path.read_text())
        if damage:
            one = record["measurements"][0]
            for key, value in damage.items():
                (one if key in one else one["candidate"])[key] = value
        else:
            record["measurements"] = damage
        path.write_text(json.dumps(record))
    assert tuning.read(stored) == []
