"""An interrupted run ends where an uninterrupted one does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modelkit.detector import dataset
from modelkit.detector.material import Material
from modelkit.detector.train import Settings, Trainer, rate_at

pytestmark = pytest.mark.toolchain


def test_the_rate_warms_up_peaks_and_falls() -> None:
    settings = Settings(steps=1000, warmup=100, learning_rate=0.1, final_rate=0.02)
    assert rate_at(0, settings) == pytest.approx(0.001)
    assert rate_at(99, settings) == pytest.approx(0.1)
    assert rate_at(550, settings) == pytest.approx(0.051)
    assert rate_at(1000, settings) == pytest.approx(0.002)


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


def test_a_torn_checkpoint_is_never_read(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "BATCHES", ((64, 2),))
    settings = Settings(steps=2, warmup=1, checkpoint_every=1)
    Trainer(material, tmp_path, settings, None).run()
    (tmp_path / "last.pt.partial").write_bytes(b"half of a checkpoint")
    assert Trainer(material, tmp_path, settings, None).step == 2
