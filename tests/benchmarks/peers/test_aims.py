"""Ratios are taken between the best ways, of quiet rounds, and their verdicts follow floor and aim."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.peers.aims import Ratio, ratios
from benchmarks.peers.record import BARE, FERRY, Reading, Record, per_second, value
from benchmarks.peers.table import print_record


def reading(server: str, way: str, rate: float, *, part: str = "images", precision: str = "fp32", callers: int = 32,
            cpu_ms: float = 40.0, disturbed: bool = False) -> Reading:  # fmt: skip
    return Reading(part, server, way, precision, callers, rate, 1000 / rate, 2000 / rate, cpu_ms, 900.0, 0, 1.0, 0.0,
                   disturbed)  # fmt: skip


def record(*readings: Reading) -> Record:
    return Record("a machine", 2, "2026-01-01", list(readings))


def named(found: list[Ratio], name: str) -> Ratio:
    (ratio,) = [ratio for ratio in found if ratio.name == name]
    return ratio


@pytest.mark.parametrize(
    ("measured", "more", "verdict"),
    [(0.96, True, "aim met"), (0.9, True, "floor met"), (0.8, True, "missed"), (math.nan, True, "not measured"),
     (0.8, False, "aim met"), (0.96, False, "missed")],
)  # fmt: skip
def test_verdicts(measured: float, more: bool, verdict: str) -> None:
    floor, aim = (0.85, 0.95) if more else (0.95, 0.85)
    assert Ratio("r", measured, floor, aim, more).verdict == verdict


def test_ferry_is_compared_with_the_best_way_of_the_best() -> None:
    found = ratios(
        record(
            reading(BARE, "1x2", 30),
            reading(BARE, "2x1", 50),
            reading(FERRY, "serve", 40),
            reading("mosec", "1x2", 20),
            reading("mosec", "2x1", 48),
            reading("Ray Serve", "2x1", 30),
        )
    )
    bare, peer = named(found, "images/s of the best bare, fp32"), named(found, "images/s of the best peer, fp32")
    assert (bare.measured, bare.against) == (0.8, "bare 2x1")
    assert peer.measured == pytest.approx(40 / 48)
    assert peer.against == "mosec 2x1"
    assert named(found, "cached answers/s of the echo").verdict == "not measured"


def test_disturbed_rounds_count_only_where_there_are_no_others() -> None:
    kept = record(reading(FERRY, "serve", 40), reading(FERRY, "serve", 10, disturbed=True))
    assert value(kept.of("images", server=FERRY), per_second) == 40
    lost = record(reading(FERRY, "serve", 10, disturbed=True))
    assert value(lost.of("images", server=FERRY), per_second) == 10


def test_a_quiet_round_under_one_load_hides_no_disturbed_one_under_another() -> None:
    kept = record(reading("mosec", "2x1", 40, disturbed=True), reading("mosec", "2x1", 16, callers=1),
                  reading(FERRY, "serve", 30))  # fmt: skip
    assert kept.best("images", "mosec", "fp32") == "2x1"
    console = Console(record=True, file=io.StringIO(), width=80)
    print_record(kept, console)
    (row,) = [row.split() for row in console.export_text().splitlines() if row.split()[:1] == ["mosec!"]]
    assert row[2] == "40.0"


def test_a_part_measured_again_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    kept = record(reading(FERRY, "serve", 40), reading(FERRY, "serve", 50, precision="bf16"),
                  reading(FERRY, "serve", 400, part="cached"))  # fmt: skip
    kept.write(tmp_path / "peers.json")
    again = Record.read(tmp_path / "peers.json")
    assert again == kept
    again.replace("images", "fp32")
    assert [(r.part, r.precision) for r in again.readings] == [("images", "bf16"), ("cached", "fp32")]
