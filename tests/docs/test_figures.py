"""Figures on pages that follow from code and manifests as they are."""

from __future__ import annotations

import re

import pytest

from deploy.capacity.costs import read_costs
from deploy.capacity.manifests import read_manifests
from deploy.capacity.plan import Load, plan
from tests.deploy.composition import OVERLAYS, every
from tests.processes import ROOT

LOAD = Load(5000, 0.3, 1.2, None, 3600.0, 1)


def test_the_plan_of_capacity_is_that_of_the_manifests() -> None:
    page = (ROOT / "docs/capacity.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| service \| CPU ms an image \|.*\n\|[-|]+\n((?:\|.*\n)+)", page)
    written = {}
    for row in table.splitlines():
        name, *cells = (cell.strip().removesuffix(" GiB").replace(",", "") for cell in row.strip("|").split("|"))
        written[name] = [float(cell) for cell in cells if cell]
    result = plan(LOAD, read_costs(), read_manifests())
    expected = {
        name: [
            service.seconds_per_image * 1000,
            service.busy_cpus,
            service.pods,
            service.cpu_requests,
            service.cpu_limits,
            service.memory_requests / 2**30,
        ]
        for name, service in result.services.items()
    }
    busy = sum(service.busy_cpus for service in result.services.values())
    expected["all"] = [busy, result.pods, result.cpu_requests, result.cpu_limits, result.memory_requests / 2**30]
    assert written.keys() == expected.keys()
    for name, numbers in expected.items():
        assert written[name] == pytest.approx(numbers, rel=1e-3, abs=0.051), name


def test_operations_says_how_many_overlays_with_components_are_built() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    combinations = sum(1 for overlay in OVERLAYS for _ in every(overlay))
    assert f"There are {combinations:,} of them" in page
