"""The GPU's table: what is compared with what, on a stand-in for a GPU and on the CPU alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.gpu import ways
from benchmarks.gpu.compare import agreement
from benchmarks.gpu.measure import Found, Plan, Speed, measure
from benchmarks.gpu.report import cells, columns
from serving.repository.repository import ModelRepository, StoredModel
from tests.serving.models.backends import fake_gpu
from tests.tiny_models import classifier_graph, classifier_manifest, publish


@pytest.fixture
def stored(tmp_path: Path) -> StoredModel:
    publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    return ModelRepository(tmp_path / "models").open("tiny", "1")


@pytest.mark.toolchain
def test_every_way_of_a_gpu_is_timed_and_compared(
    stored: StoredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu.install(monkeypatch, tensorrt=False)
    monkeypatch.setattr(ways, "half_file", lambda model, _: model.file())
    plan = Plan((1, 4), 0.001, 4, None, 60, gpu=True)
    found = {row.way: row for row in measure([stored], plan, tmp_path)}
    assert [speed.batch for speed in found[ways.SERVED].speeds] == [1, 4]
    assert found[ways.SERVED].note == "bound buffers, CUDA graphs"
    assert found["CUDA float32, no graphs"].note == "bound buffers"
    same = found[ways.SERVED].agreement
    assert same is not None
    assert same.pictures == 4
    assert same.max_difference > 0.01  # the stand-in answers otherwise than the model
    assert found[ways.BASE].agreement is not None
    assert found[ways.BASE].agreement.max_difference == 0
    assert found["PyTorch float32"].note.startswith("skipped: KeyError")  # no recipe makes this model
    assert found["CPU float32, 1 thread"].speeds


@pytest.mark.toolchain
def test_what_the_time_does_not_reach_is_named(stored: StoredModel, tmp_path: Path) -> None:
    found = list(measure([stored], Plan((1,), 0.001, 4, None, -1, gpu=False), tmp_path))
    first, *others = found
    assert first.speeds  # without it there are no ratios
    assert {row.note for row in others} == {"skipped: no time was left"}


@pytest.mark.parametrize(("names", "says"), [(["nosuch"], "models here: tiny"), ([], "there are no models in")])
def test_models_that_there_are_not_are_refused(
    stored: StoredModel, tmp_path: Path, names: list[str], says: str
) -> None:
    models, out = tmp_path / ("models" if names else "nowhere"), tmp_path / "out"
    command = ["gpu", "models", "--provider", "cpu", "--models-dir", str(models), "--out", str(out), *names]
    refused = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert refused.exit_code == 2
    assert says in refused.output
    assert not out.exists()


def test_ratios_are_of_the_cpu_at_the_same_batch() -> None:
    base = Found("m", ways.BASE, 1, [Speed(1, 10), Speed(8, 40)])
    row = Found("m", "CUDA", 1, [Speed(1, 2), Speed(8, 4)])
    texts = dict(zip(columns((1, 8, 64)), cells(row, (1, 8, 64), base), strict=True))
    assert texts["images/s, batch 1"] == "500 (5.0x)"
    assert texts["images/s, batch 8"] == "2000 (10.0x)"
    assert texts["images/s, batch 64"] == "–"


def test_a_detector_is_compared_at_its_surest_box() -> None:
    wanted = np.zeros((1, 2, 3), np.float32)
    wanted[0, :, 1] = (0.9, 0.1)
    actual = wanted.copy()
    actual[0, :, 0] = (0.0, 0.25)
    assert agreement([actual], [wanted]).same_first == 1
    assert agreement([actual], [wanted]).max_difference == pytest.approx(0.25)
    actual[0, :, 1] = (0.1, 0.9)
    assert agreement([actual], [wanted]).same_first == 0
    actual[0, 0, 0] = np.nan
    assert agreement([actual], [wanted]).max_difference == float("inf")


@pytest.mark.toolchain
def test_the_command_can_be_tried_without_a_gpu(stored: StoredModel, tmp_path: Path) -> None:
    arguments = ["tiny", "--provider", "cpu", "--batch", "1", "--seconds", "0.01", "--pictures", "4"]
    folders = ["--models-dir", str(tmp_path / "models"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["gpu", "models", *arguments, *folders])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert record["gpu"] is None
    assert record["found"][0]["way"] == ways.BASE
    assert record["found"][0]["speeds"][0]["rows_per_second"] > 0
    assert ways.BASE in (tmp_path / "out" / "gpu.md").read_text()
    assert (tmp_path / "out" / "gpu.png").exists()


def test_without_a_gpu_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu.remove(monkeypatch)
    result = CliRunner().invoke(app, ["gpu", "models", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no NVIDIA GPU with a driver is visible" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_cluster_wants_a_gpu_too_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu.remove(monkeypatch)
    result = CliRunner().invoke(app, ["gpu", "cluster", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no NVIDIA GPU with a driver is visible" in result.stderr
