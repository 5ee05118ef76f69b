"""An interrupted run ends where an uninterrupted one does."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from modelkit.detector import dataset, train
from modelkit.detector.dataset import Sampler
from modelkit.detector.export import export
from modelkit.detector.feed import feed
from modelkit.detector.material import Material
from modelkit.detector.train import STARTS, Settings, Trainer, rate_at, train_detector
from serving.models.backends import load_backend
from tests.full_disk import full_disk

pytestmark = pytest.mark.toolchain


def test_the_rate_warms_up_peaks_and_falls() -> None:
    settings = Settings(steps=1000, warmup=100, learning_rate=0.1, final_rate=0.02)
    assert rate_at(0, settings) == pytest.approx(0.001)
    assert rate_at(99, settings) == pytest.approx(0.1)
    assert rate_at(550, settings) == pytest.approx(0.051)
    assert rate_at(1000, settings) == pytest.approx(0.002)


def test_with_a_time_instead_of_steps_the_rate_falls_with_the_time() -> None:
    settings = Settings(seconds=200, warmup=10, learning_rate=0.1, final_rate=0.02)
    assert rate_at(5000, settings, elapsed=100) == pytest.approx(0.051)
    assert rate_at(5000, settings, elapsed=300) == pytest.approx(0.002)


def test_a_run_by_the_clock_ends_and_is_finished(material: Material, tmp_path: Path) -> None:
    settings = Settings(seconds=0.5, warmup=2, batches=((64, 2),))
    trainer = Trainer(material, tmp_path, settings, None)
    trainer.run()
    assert trainer.step > 0
    assert Trainer(material, tmp_path, settings, None).is_finished()


WORKERS = """
import pickle, sys, torch
from pathlib import Path
from modelkit.detector.feed import feed
sampler = pickle.loads(Path(sys.argv[1]).read_bytes())
torch.save(list(feed(sampler, 5, 9, 2, pinned=False)), sys.argv[2])
"""


@pytest.mark.slow
def test_processes_make_the_same_pictures_in_the_same_order(material: Material, tmp_path: Path) -> None:
    sampler = Sampler(material, 3, ((64, 2), (96, 1)))
    here = list(feed(sampler, 5, 9, 0, pinned=False))
    # In a process of its own: PyTorch's loader installs a handler of signals that would outlive this test.
    (tmp_path / "sampler").write_bytes(pickle.dumps(sampler))
    arguments = [sys.executable, "-c", WORKERS, str(tmp_path / "sampler"), str(tmp_path / "batches")]
    subprocess.run(arguments, check=True, timeout=100)
    there = torch.load(tmp_path / "batches", weights_only=True)
    assert len(here) == len(there) == 4
    for mine, theirs in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_weights(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "BATCHES", ((64, 2),))
    settings = Settings(steps=4, warmup=2, checkpoint_every=2)
    whole = Trainer(material, tmp_path / "whole", settings, None)
    whole.run()

    class KilledError(Exception):
        pass

    def kill(trainer: Trainer) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        Trainer(material, tmp_path / "killed", settings, None).run(on_checkpoint=kill)
    resumed = Trainer(material, tmp_path / "killed", replace(settings), None)
    assert resumed.step == 2
    resumed.run()
    assert resumed.step == 4
    for mine, theirs in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_on_a_full_disk_what_is_known_of_earlier_starts_stays(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    monkeypatch.setattr(train, "load_material", lambda *_, **__: (material, settings))  # any record of its sources
    monkeypatch.setattr(train, "Trainer", lambda *_: SimpleNamespace(step=0, run=lambda on_checkpoint: None))
    train_detector(tmp_path, tmp_path / "run", tmp_path, settings)
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        train_detector(tmp_path, tmp_path / "run", tmp_path, settings)
    assert len(json.loads((tmp_path / "run" / STARTS).read_text())) == 1


def test_a_torn_checkpoint_is_never_read(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "BATCHES", ((64, 2),))
    settings = Settings(steps=2, warmup=1, checkpoint_every=1)
    Trainer(material, tmp_path, settings, None).run()
    (tmp_path / "last.pt.partial").write_bytes(b"half of a checkpoint")
    assert Trainer(material, tmp_path, settings, None).step == 2


@pytest.mark.slow
def test_a_run_from_a_published_file_begins_where_that_ended(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "BATCHES", ((64, 2),))
    settings = Settings(steps=4, warmup=2, checkpoint_every=2)
    first = Trainer(material, tmp_path / "first", settings, None)
    first.run()
    export(first.average, tmp_path / "model.onnx", 64)
    again = Trainer(material, tmp_path / "again", settings, tmp_path / "model.onnx")
    images = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    expected = load_backend(tmp_path / "model.onnx").run(images.numpy())["output0"]
    with torch.inference_mode():
        actual = again.average(images.permute(0, 3, 1, 2) / 255)
    actual = (actual[0] if isinstance(actual, tuple) else actual).numpy()
    assert abs(actual[:, 4:] - expected[:, 4:]).max() < 1e-3
    assert abs(actual[:, :4] - expected[:, :4]).max() < 0.1, "pixels"
    with pytest.raises(ValueError, match="another architecture"):
        Trainer(material, tmp_path / "other", replace(settings, architecture="yolov8n"), tmp_path / "model.onnx")
