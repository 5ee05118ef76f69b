"""Overlays and components are found, and every combination of them builds."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.deploy.composition import COMPONENTS, CONFLICTS, K8S, NEEDS, ONLY, OVERLAYS, every, inside, selected
from tests.deploy.manifests import name, render

ALL = os.environ.get("FERRY_K8S_ALL") == "1"
PARTS = 8
"""In which the builds of an overlay are done, so that one sees how far they are."""


def test_every_folder_is_an_overlay_or_a_component() -> None:
    for kind, known in (("overlays", OVERLAYS), ("components", COMPONENTS)):
        assert {path.name for path in (K8S / kind).iterdir() if not path.name.startswith(".")} == set(known)


@pytest.mark.slow
def test_every_component_is_tried_alone_and_with_every_other_that_it_goes_with() -> None:
    tried = {frozenset(chosen) | inside("cpu") for chosen in selected("cpu", pairs=True)}
    for one in COMPONENTS:
        if "cpu" in ONLY.get(one, OVERLAYS):
            assert any(one in combination for combination in tried) or _excluded(one, "cpu")
            assert any(one in {*chosen, *inside(o)} for o in OVERLAYS for chosen in selected(o, pairs=True)), one
    for one, overlays in ONLY.items():
        assert all(any(one in chosen for chosen in selected(overlay, pairs=False)) for overlay in overlays)
    for chosen in every("cpu"):
        for i, one in enumerate(chosen):
            for other in chosen[i + 1 :]:
                assert any({one, other} <= combination for combination in tried)


def _excluded(component: str, overlay: str) -> bool:
    """Whether an overlay has already what a component, or one that it needs, does not go with."""
    one = {component, *NEEDS.get(component, ())}
    return any(pair & one and pair & inside(overlay) - one for pair in CONFLICTS)


@pytest.mark.skipif(not ALL, reason="make k8s-check builds all combinations; FERRY_K8S_ALL=1 asks for it here")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_combinations_build(overlay: str, part: int) -> None:
    wanted = list(every(overlay))[part::PARTS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for objects in pool.map(lambda components: render.__wrapped__(overlay, components), wanted):
            seen = [(item["kind"], name(item)) for item in objects]
            assert len(seen) == len(set(seen))
