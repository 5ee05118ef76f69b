"""`ferry models build-engine` on a GPU that is none, and on this machine without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.models import app
from modelkit.quantize.build_engine import EngineRefusedError, build_engine
from serving.models import tuning
from serving.models.backends import engines
from serving.models.backends.base import Backend
from serving.models.backends.gpu import GpuSettings
from serving.repository.repository import ModelRepository, StoredModel
from tests.serving.models.backends import fake_gpu
from tests.tiny_models import add_variant, classifier_graph, classifier_manifest, publish

FLAT = (1.0,) * 7
"""Slope of a model that answers as the fake GPU does: the mean brightness, seven times."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FERRY_ENGINE_CACHE", str(tmp_path / "engines"))
    monkeypatch.setenv("FERRY_MODELS_DIR", str(tmp_path / "models"))
    publish(tmp_path / "models", classifier_manifest(), classifier_graph(FLAT))
    return tmp_path / "models"


@pytest.fixture
def stored(models: Path) -> StoredModel:
    return ModelRepository(models).open("tiny", "1")


@pytest.fixture
def settings(tmp_path: Path) -> GpuSettings:
    return GpuSettings(4, tmp_path / "engines")


class Judge:
    """Says what it was told of the CPU and of the GPU."""

    def __init__(self, cpu: float, gpu: float) -> None:
        self._accuracy = {"cpu": cpu, "cuda": gpu}

    def held_back(self, backend: Backend) -> dict[str, float]:
        return {"accuracy": self._accuracy[backend.device]}

    reported = held_back


def test_the_engine_is_built_measured_and_written_down(
    models: Path, settings: GpuSettings, stored: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu.install(monkeypatch)
    arguments = ["build-engine", "tiny", "--batch", "4", "--seconds", "0.01", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["gpu"], report["precision"], report["was_built_before"]) == (fake_gpu.H100.name, "fp16", False)
    assert report["profile"] == [1, 2, 4]
    assert report["difference"] < 1e-3
    measured = {(m["candidate"]["backend"], m["candidate"]["batch"]) for m in report["measurements"]}
    assert measured == {(b, n) for b in ("onnxruntime", "cuda", "tensorrt") for n in (1, 2, 4)}
    assert json.loads((Path(report["engine"]) / "report.json").read_text()) == report
    assert engines.is_built(stored, "fp16", "default", settings)
    assert {m.candidate.backend for m in tuning.read(stored)} == {"onnxruntime", "cuda", "tensorrt"}

    again = CliRunner().invoke(app, ["build-engine", "tiny", "--batch", "4", "--seconds", "0.01"])
    assert again.exit_code == 0, again.output
    assert "engine was there already" in again.output
    assert fake_gpu.H100.name in again.output


def test_an_engine_that_loses_too_much_is_not_kept(
    settings: GpuSettings, stored: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu.install(monkeypatch)
    with pytest.raises(EngineRefusedError, match=r"loses 0\.0200, more than its gate of 0\.01"):
        build_engine(stored, "fp16", settings, judge=Judge(0.7, 0.68), seconds=0.001)  # type: ignore[arg-type]
    assert not engines.is_built(stored, "fp16", "default", settings)
    assert {m.passed for m in tuning.read(stored) if m.candidate.backend == "tensorrt"} == {False}
    report = build_engine(stored, "fp16", settings, judge=Judge(0.7, 0.7), gate=0, seconds=0.001)  # type: ignore[arg-type]
    assert report["verdict"]["passed"]


def test_answers_that_differ_are_noticed_without_pictures(
    models: Path, settings: GpuSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu.install(monkeypatch)
    publish(models, classifier_manifest(version="2"), classifier_graph((0, 0, 0, 9, 0, 0, 0)))
    stored = ModelRepository(models).open("tiny", "2")
    with pytest.raises(EngineRefusedError, match="scores differ"):
        build_engine(stored, "fp16", settings, seconds=0.001)
    assert not engines.is_built(stored, "fp16", "default", settings)


def test_int8_needs_a_variant_that_passed_on_tensorrt(
    models: Path, settings: GpuSettings, stored: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu.install(monkeypatch)
    with pytest.raises(EngineRefusedError, match="quantize tiny --activations int8"):
        build_engine(stored, "int8", settings, seconds=0.001)
    add_variant(stored.directory, classifier_graph(FLAT), ("tensorrt",))
    stored = ModelRepository(models).open("tiny", "1")
    report = build_engine(stored, "int8", settings, seconds=0.001)
    assert report["precision"] == "int8"
    assert engines.is_built(stored, "int8", "int8", settings)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    fake_gpu.remove(monkeypatch)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["build-engine", *arguments])
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        return result.output

    return run


def test_without_a_gpu_one_line_says_what_to_install(models: Path, without_gpu: Callable[..., str]) -> None:
    output = without_gpu("tiny")
    assert output.count("\n") == 1
    for part in ("no NVIDIA GPU", "onnxruntime-gpu", "tensorrt-cu13"):
        assert part in output
    assert not (models.parent / "engines").exists()


def test_a_model_that_is_not_there_is_said_first(models: Path, without_gpu: Callable[..., str]) -> None:
    assert "there is no model 'nobody'" in without_gpu("nobody")
