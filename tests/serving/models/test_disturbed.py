"""What disturbs the machine for a moment while models are measured decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.models import tuning
from serving.models.backends.base import Backend, Outputs, Rows
from serving.models.backends.gpu import GpuSettings
from serving.models.measuring import MOST_LOOKS, Timing, agreed, least
from serving.models.ways import Candidate, Measurement
from serving.repository.manifest import Task
from serving.repository.repository import ModelRepository, StoredModel
from tests.tiny_models import detector_graph, detector_manifest, publish

TRUE_MS = {
    ("onnxruntime", "fp32", 2, 1): (27.0, 53.0),
    ("openvino", "fp32", 2, 1): (27.0, 54.0),
    ("openvino", "bf16", 2, 1): (15.0, 31.0),
    ("onnxruntime", "fp32", 1, 1): (50.0, 49.0),
    ("onnxruntime", "fp32", 1, 2): (100.0, 49.5),
    ("openvino", "fp32", 1, 1): (49.0, 48.0),
    ("openvino", "fp32", 1, 2): (105.0, 50.0),
    ("openvino", "bf16", 1, 1): (28.0, 27.0),
    ("openvino", "bf16", 1, 2): (55.0, 26.5),
}
"""Of a detector on two CPUs, by backend, precision, threads and rows of a run: its milliseconds, and CPU for a row."""
Way = tuple[str, str, int, int]


class Known(Backend):
    """A model that is loaded in one of these ways; it does not compute."""

    def __init__(self, how: Candidate) -> None:
        self.name, self.precision, self.how = how.backend, how.precision, how

    def run(self, rows: Rows) -> Outputs:
        return {"output0": np.zeros((len(rows), 11, 84), np.float32)}


class Machine:
    """Each look finds the true time, times what `disturbed` says of that way and of how often it was seen."""

    def __init__(self, disturbed: Callable[[Way, int], float] = lambda way, seen: 1.0) -> None:
        self.seen: Counter[Way] = Counter()
        self._disturbed = disturbed

    def timed(self, run: Callable[[Rows], object], rows: Rows, runs: int, seconds: float) -> Timing:
        how = run.__self__.how  # type: ignore[attr-defined]
        way = how.backend, how.precision, how.threads, len(rows)
        self.seen[way] += 1
        run_ms, cpu_ms = (true * self._disturbed(way, self.seen[way]) for true in TRUE_MS[way])
        return Timing(len(rows) * runs * 1000 / run_ms, run_ms, cpu_ms)


@pytest.fixture
def choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], Candidate]:
    """How a detector that was never measured is run on a machine, with reduced precision."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "available_cpus", lambda: 2)
    monkeypatch.setattr(tuning, "quiet_share", lambda cpus, patience: 1.0)
    monkeypatch.setattr(tuning, "has_bf16", lambda: True)
    monkeypatch.setattr(tuning, "installed", lambda: ("onnxruntime", "openvino"))
    monkeypatch.setattr(tuning, "load", lambda stored, how, gpu=None: Known(how))
    publish(tmp_path / "models", detector_manifest(), detector_graph())
    stored = ModelRepository(tmp_path / "models").open("detector", "1")

    def choose(machine: Machine) -> Candidate:
        monkeypatch.setattr(tuning, "timed", machine.timed)
        for kept in stored.directory.glob("tuning-*.json"):
            kept.unlink()
        return tuning.choose(stored, reduced=True, device="cpu")

    return choose


def test_on_a_quiet_machine_each_way_is_looked_at_twice(choice: Callable[[Machine], Candidate]) -> None:
    machine = Machine()
    assert choice(machine) == Candidate("openvino", "bf16", threads=1, batch=1, runs=2, rest=2)
    assert set(machine.seen) == set(TRUE_MS)
    assert set(machine.seen.values()) == {2}


@pytest.mark.parametrize("disturbed_look", [1, 2])
@pytest.mark.parametrize("factor", [1.36, 5.0])
@pytest.mark.parametrize("disturbed_way", TRUE_MS)
def test_one_disturbed_figure_changes_no_choice(
    choice: Callable[[Machine], Candidate], disturbed_way: Way, factor: float, disturbed_look: int
) -> None:
    undisturbed = choice(Machine())
    machine = Machine(lambda way, seen: factor if (way, seen) == (disturbed_way, disturbed_look) else 1.0)
    assert choice(machine) == undisturbed
    assert machine.seen[disturbed_way] == 3, "the two did not agree"


def test_a_machine_that_is_never_quiet_is_not_looked_at_for_ever(choice: Callable[[Machine], Candidate]) -> None:
    machine = Machine(lambda way, seen: 1 + seen)
    choice(machine)
    assert set(machine.seen.values()) == {MOST_LOOKS}


def test_no_more_than_two_backends_are_held_to_look_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: Counter[str] = Counter()

    class Counted(Known):
        def __init__(self, how: Candidate) -> None:
            super().__init__(how)
            held["now"] += 1
            held["most"] = max(held["most"], held["now"])

        def __del__(self) -> None:
            held["now"] -= 1

    def load(stored: StoredModel, how: Candidate, gpu: GpuSettings) -> Backend:
        return Counted(how)

    monkeypatch.setattr(tuning, "load", load)
    monkeypatch.setattr(tuning, "timed", Machine().timed)
    publish(tmp_path, detector_manifest(), detector_graph())
    ways = [Candidate(backend, precision, threads, rows) for backend, precision, threads, rows in TRUE_MS]
    assert len(tuning.measure(ModelRepository(tmp_path).open("detector", "1"), ways)) == len(ways)
    assert held == {"now": 0, "most": 2}


def test_the_best_of_each_figure_counts() -> None:
    assert least([Timing(30, 33, 31), Timing(28, 35, 29)]) == Timing(30, 33, 29)


def test_looks_agree_where_the_least_two_of_each_figure_do() -> None:
    assert not agreed([Timing(10, 100, 90)])
    assert agreed([Timing(10, 100, 90), Timing(9, 108, 95)])
    assert not agreed([Timing(10, 100, 90), Timing(9, 108, 120)])
    assert agreed([Timing(10, 100, 90), Timing(9, 108, 120), Timing(9, 150, 91)])


def test_a_figure_that_was_kept_disturbed_does_not_decide_for_several_threads() -> None:
    """As a first start kept it once: one thread a run at 36.8 ms of CPU, which takes 27."""
    figures = [(2, 1, 16.0, 31.7), (1, 2, 45.0, 36.8)]
    kept = [
        Measurement(Candidate("openvino", "bf16", threads, 1, runs=runs), runs * 1000 / ms, ms, 0, None, cpu_ms)
        for threads, runs, ms, cpu_ms in figures
    ]
    how = tuning.best_way(kept, reduced=True, task=Task.DETECT)
    assert how == Candidate("openvino", "bf16", threads=1, batch=1, runs=2, rest=2)
    cheap = Measurement(kept[0].candidate, 60, 16, 0, None, cpu_ms=20.0)
    how = tuning.best_way([cheap, kept[1]], reduced=True, task=Task.DETECT)
    assert how is not None
    assert (how.threads, how.runs) == (2, 1), "clearly cheaper"
