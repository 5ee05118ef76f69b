"""Reading what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.capacity.costs import MEASURED, CostsError, ServiceCost, read_costs


def test_the_committed_measurement_covers_every_service() -> None:
    costs = read_costs()
    assert costs.services.keys() >= {"gateway", "ensembler", "detector", "classifier-efficientnet"}
    assert costs.services["detector"].run(1) > 0
    assert costs.entry_bytes.at(2) > costs.entry_bytes.at(0) > 0
    assert costs.note


def test_a_run_between_measured_sizes_lies_between_their_costs() -> None:
    cost = ServiceCost(0.0, {1: 1.0, 4: 2.5, 8: 4.0})
    assert [cost.run(n) for n in (1, 2, 4, 6, 8, 16)] == [1.0, 1.5, 2.5, 3.25, 4.0, 8.0]
    assert ServiceCost(1.0, {}).run(5) == 0.0


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(read_costs().record()))
    assert read_costs(path) == read_costs()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("cached_seconds", -1, "cached_seconds must be 0 or more"),
        ("image_bytes", "many", "could not convert"),
        ("entry_bytes", {"base": 1}, "per_face is missing"),
        ("services", None, "measure with --measure"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, field: str, value: object, says: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(json.loads(MEASURED.read_text()) | {field: value}))
    with pytest.raises(CostsError, match=says):
        read_costs(path)


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text("[" * 5000)
    with pytest.raises(CostsError, match=f"{path}: .*; measure with --measure"):
        read_costs(path)


def test_no_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CostsError, match="--measure"):
        read_costs(tmp_path / "none.json")
