"""bfloat16, which OpenVINO computes where the processor can, is judged by the gate of `ferry models optimize`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelkit.quantize.optimize import keep, optimize
from modelkit.quantize.search import Settings
from serving.models import tuning
from serving.models.backends.base import Backend
from tests.modelkit.quantize.models import Ferry, classifier, publish_classifier
from tests.processors import computes_bf16
from tests.tiny_models import classifier_graph

pytestmark = [pytest.mark.toolchain, computes_bf16, pytest.mark.parametrize("processor", ["bf16"], indirect=True)]


def test_it_is_judged_and_timed_like_every_other_way(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(2))
    report = json.loads(ferry("optimize", "tiny", "--seconds", "0.01", "--dry-run", "--json"))
    (way,) = (way for way in report["ways"] if way["precision"] == "bf16")
    assert way["backend"] == "openvino"
    assert way["passed"] == (way["loss"] <= report["gate"])
    assert way["figures"].keys() == {"accuracy"}
    assert way["run_ms"] > 0


class Judge:
    """Finds that bfloat16 loses so much."""

    def __init__(self, lost: float) -> None:
        self.lost = lost

    def held_back(self, backend: Backend) -> dict[str, float]:
        return {"accuracy": 0.7 - self.lost * (backend.precision == "bf16")}

    reported = held_back


@pytest.mark.parametrize(("lost", "passes"), [(0.005, True), (0.006, False)])
def test_services_run_it_only_where_it_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: float, passes: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stored = publish_classifier(tmp_path / "models", classifier_graph(side=48))
    found = optimize(stored, Judge(lost), tmp_path, Settings(gate=0.005), batches=(1,), seconds=0.001)  # type: ignore[arg-type]
    keep(found, tmp_path / "models", found.record())
    kept = [m for m in tuning.read(stored) if m.candidate.precision == "bf16"]
    assert {m.passed for m in kept} == {passes}
    assert {tuning.is_allowed(m, reduced=True) for m in kept} == {passes}
    assert not any(tuning.is_allowed(m, reduced=False) for m in kept)
