"""Drift from the first answer to the verdict: a gateway counts, a baseline is stored, later answers are compared."""

from __future__ import annotations

import json
import random

import pytest
from prometheus_client import REGISTRY, generate_latest
from typer.testing import CliRunner

from cli.drift import app, command
from cli.drift.counts import of, read, together
from cli.verdicts import NOTHING, USAGE
from ferry.v1 import ensembler_pb2, types_pb2
from gateway.experiments.distance import psi, two_sample
from gateway.experiments.drift import Baseline, DriftWatch
from gateway.routing.distributions import CELLS, Counts, Distributions, difference, nothing
from serving.config_file import ConfigFileError, read_config
from serving.telemetry.scrape import parse


def answer(expression: int = 4, confidence: float = 0.8, size: float = 40, brightness: float = 0.5, faces: int = 1):
    face = types_pb2.Face(
        expression=expression,
        confidence=confidence,
        brightness=brightness,
        box=types_pb2.BoundingBox(x_min=0, y_min=0, x_max=size, y_max=size + 1),
    )
    return ensembler_pb2.EnsemblerRecognizeResponse(faces=[face] * faces)


def page():
    return of(parse("here", generate_latest(REGISTRY).decode()))


def test_what_is_counted_comes_back_from_the_metrics_page() -> None:
    counted = Distributions("drift-page")
    for made in (answer(), answer(7, 0.2, 10, 0.05, 3), answer(faces=0), answer(confidence=1.0, size=9999, faces=60)):
        counted.count(made)
    assert page()["drift-page"] == counted.counts
    assert sum(counted.counts["faces"]) == 4
    assert counted.counts["expression"][CELLS["expression"].index("surprised")] == 3


def test_the_index_is_small_for_samples_of_one_population_and_large_for_others() -> None:
    rng = random.Random(1)

    def sample(mean: float, n: int) -> list[int]:
        counted = [0] * 10
        for _ in range(n):
            counted[min(max(int(rng.gauss(mean, 2)), 0), 9)] += 1
        return counted

    assert psi(sample(5, 2000), sample(5, 2000)) < 0.02
    assert psi(sample(5, 2000), sample(7, 2000)) > command.CHANGED
    ps = [two_sample(sample(5, 500), sample(5, 300)) for _ in range(300)]
    assert sum(p < 0.05 for p in ps) / len(ps) == pytest.approx(0.05, abs=0.035), "as often as it says"
    assert two_sample(sample(5, 500), sample(6, 300)) < 0.001


@pytest.mark.parametrize(("cells", "p"), [([10, 20], 0.009823), ([10, 20, 30], 4.540e-5), ([10, 20, 30, 40], 1.066e-8)])
def test_the_test_is_pearson_s(cells: list[int], p: float) -> None:
    # scipy.stats.chi2_contingency([cells, cells[::-1]], correction=False)
    assert two_sample(cells, cells[::-1]) == pytest.approx(p, rel=1e-3)
    assert two_sample(cells, cells) == pytest.approx(1.0)


def test_too_little_says_nothing() -> None:
    assert two_sample([], []) == 1.0
    assert two_sample([1, 0], [0, 1]) == 1.0


def reference(tmp_path, counts=None):
    made = counts or {name: [100] * len(cells) for name, cells in CELLS.items()}
    path = tmp_path / "drift.json"
    path.write_text(json.dumps({"variant": "stable", "made": 1.0, "seconds": 60.0, "counts": made}))
    return path


def test_a_gateway_shows_drift_by_variant_once_it_has_seen_enough(tmp_path) -> None:
    counted = Distributions("drift-watch")
    for n in range(300):
        counted.count(answer(1 + n % 7))
    path = reference(tmp_path, counted.counts)
    now = 0.0
    watch = DriftWatch(path, 100.0, lambda: now)

    def shown(distribution: str) -> float | None:
        return REGISTRY.get_sample_value("ferry_drift_psi", {"variant": "drift-watch", "distribution": distribution})

    fresh = Distributions("drift-watch")
    watch.look({"drift-watch": fresh.counts})
    assert shown("brightness") == 0, "too little was seen"
    for n in range(300):
        fresh.count(answer(1 + n % 7))
    now = 50.0
    watch.look({"drift-watch": fresh.counts})
    assert shown("brightness") == pytest.approx(0, abs=0.01)
    for n in range(1000):
        fresh.count(answer(1 + n % 7, brightness=0.05))
    now = 200.0
    watch.look({"drift-watch": fresh.counts})
    assert (shown("brightness") or 0) > command.CHANGED
    assert shown("expression") == pytest.approx(0, abs=0.01)
    watch.look({})
    assert shown("brightness") is None, "a variant that is gone takes its series with it"


def test_a_baseline_that_does_not_fit_is_named(tmp_path) -> None:
    for counts in ({}, {name: [1] for name in CELLS}, {name: [-1] * len(cells) for name, cells in CELLS.items()}):
        with pytest.raises(ConfigFileError, match=r"drift\.json"):
            read_config(reference(tmp_path, counts or {"expression": [1]}), Baseline)
    with pytest.raises(ConfigFileError, match=r"none\.json"):
        DriftWatch(tmp_path / "none.json", 60.0)


def test_baseline_and_report_by_command(tmp_path, monkeypatch) -> None:
    counted = Distributions("stable")
    before = read_now("stable")
    for n in range(300):
        counted.count(answer(1 + n % 7))
    monkeypatch.setattr(command, "read", lambda addresses: {"g:1": {"stable": difference(read_now("stable"), before)}})
    path = tmp_path / "drift.json"
    done = CliRunner().invoke(app, ["baseline", "--gateways", "g:1", "--out", str(path)])
    assert done.exit_code == 0, done.output
    assert read_config(path, Baseline).variant == "stable"
    alike = CliRunner().invoke(app, ["report", "--gateways", "g:1", "--baseline", str(path)])
    assert alike.exit_code == 0, alike.output
    for n in range(900):
        counted.count(answer(1 + n % 7, brightness=0.05))
    picture = tmp_path / "drift.png"
    arguments = ["report", "--gateways", "g:1", "--baseline", str(path), "--json"]
    changed = CliRunner().invoke(app, arguments)
    assert changed.exit_code == 2
    found = {row["distribution"]: row for row in json.loads(changed.stdout)}
    assert found["brightness"]["psi"] > command.CHANGED
    assert found["brightness"]["p_value"] < 1e-6
    assert found["expression"]["psi"] < 0.01
    pytest.importorskip("matplotlib")
    CliRunner().invoke(app, [*arguments, "--plot", str(picture)])
    assert picture.read_bytes()[:4] == b"\x89PNG"


def read_now(variant: str):
    return page().get(variant, nothing())


def test_what_cannot_be_compared_is_named(tmp_path, monkeypatch) -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        read(["127.0.0.1:1"])
    monkeypatch.setattr(command, "read", lambda addresses: {"g:1": {"stable": nothing()}})
    few = CliRunner().invoke(app, ["baseline", "--gateways", "g:1", "--out", str(tmp_path / "a.json")])
    assert few.exit_code == NOTHING
    assert "only 0 computed answers" in few.output
    without = {**nothing(), "faces": [300] + [0] * (len(CELLS["faces"]) - 1)}
    monkeypatch.setattr(command, "read", lambda addresses: {"g:1": {"stable": without}})
    faceless = CliRunner().invoke(app, ["baseline", "--gateways", "g:1", "--out", str(tmp_path / "a.json")])
    assert (faceless.exit_code, "had a face" in faceless.output) == (NOTHING, True)
    assert not list(tmp_path.iterdir())
    of_time = ["baseline", "--gateways", "g:1", "--out", "a.json", "--seconds", "nan"]
    of_picture = ["report", "--gateways", "g:1", "--baseline", str(reference(tmp_path)), "--plot", "drift.txt"]
    for wrong, word in ((of_time, "--seconds"), (of_picture, ".png")):
        done = CliRunner().invoke(app, wrong)
        assert (done.exit_code, word in done.output) == (USAGE, True)
    assert CliRunner().invoke(app, ["baseline", "--gateways", "g:1", "--out", "a.txt"]).exit_code == USAGE
    assert CliRunner().invoke(app, ["baseline", "--gateways", "", "--out", "a.json"]).exit_code == USAGE


def test_a_gateway_that_started_anew_counts_with_all_it_has_and_one_that_went_with_nothing() -> None:
    def counted(faces: int) -> dict[str, Counts]:
        return {"stable": {**nothing(), "faces": [faces] * len(CELLS["faces"])}}

    before = {"old": counted(100), "anew": counted(50), "gone": counted(70)}
    later = {"old": counted(110), "anew": counted(3), "new": counted(4)}
    assert together(later, before)["stable"]["faces"][0] == 10 + 3 + 4


def test_a_name_that_nobody_knows_is_named() -> None:
    with pytest.raises(OSError, match=r"nobody knows the name nowhere\.invalid:1"):
        read(["nowhere.invalid:1"])


@pytest.mark.parametrize("page", ["<html>", 'ferry_computed_faces_total{variant="v",expression="happy"} NaN\n'])
def test_a_page_that_is_none_of_metrics_is_named(monkeypatch, page) -> None:
    monkeypatch.setattr("cli.drift.counts.fetch", lambda address: (address, page))
    with pytest.raises(OSError, match=r"what 127\.0\.0\.1:1 says are no metrics"):
        read(["127.0.0.1:1"])


def test_too_few_answers_are_not_taken_for_answers_alike(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(command, "read", lambda addresses: {"g:1": {"stable": nothing()}})
    path = reference(tmp_path, {name: [1] * len(cells) for name, cells in CELLS.items()})
    few = CliRunner().invoke(app, ["report", "--gateways", "g:1", "--baseline", str(path)])
    assert few.exit_code == 3


def test_what_goes_wrong_is_never_taken_for_a_change(tmp_path) -> None:
    for wrong in (["report", "--gateway", "g:1"], ["repot"], ["--bogus"], ["report"]):
        assert CliRunner().invoke(app, wrong).exit_code == USAGE
    away = CliRunner().invoke(app, ["baseline", "--gateways", "127.0.0.1:1", "--out", str(tmp_path / "a.json")])
    assert away.exit_code == NOTHING
    assert "127.0.0.1:1" in away.output
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
