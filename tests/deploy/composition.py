"""Which overlays and components there are, and which go together; read from the folders, so that none is forgotten."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
CONFLICTS: dict[frozenset[str], str] = {
    frozenset({"redis", "redis-external"}): "one cache has one address",
    frozenset({"models-volume", "models-fetch"}): "both fill /models",
    frozenset({"models-fetch", "canary"}): "both tracks would fetch with the image of one",
    frozenset({"argo-rollouts", "canary"}): "two ways to roll out the same services",
    frozenset({"gateway-api", "mtls"}): "proxies speak plain HTTP/2 to the gateway",
    frozenset({"gateway-api", "gateway-api-grant"}): "the grant is for the second Ferry, the route is the first one's",
}
"""Pairs of components that exclude each other, with the reason."""
NEEDS: dict[str, frozenset[str]] = {
    "gateway-api-split": frozenset({"gateway-api"}),
    "judge": frozenset({"canary"}),
    "judge-redis": frozenset({"judge", "redis"}),
}
"""Components that are of use, or build, only together with others."""
ONLY: dict[str, frozenset[str]] = {"gpu-dra": frozenset({"gpu"})}
"""Components that change what only some overlays have, with those."""
SINCE: dict[str, tuple[int, int]] = {"gpu-dra": (1, 34), "models-volume": (1, 31)}
"""Components that need fields of a newer Kubernetes, with the version that has them."""
FIRST = ("canary",)
"""Components that an overlay lists before the others, which reach what they add."""
LAST = ("argo-rollouts",)
"""Components that an overlay lists after the others: they change the kinds that those patch."""


def _folders(parent: Path) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in parent.glob("[!.]*/kustomization.yaml")))


OVERLAYS = _folders(K8S / "overlays")
COMPONENTS = tuple(sorted(_folders(K8S / "components"), key=lambda name: (name not in FIRST, name in LAST, name)))
"""In an order in which an overlay may list them."""


def inside(overlay: str) -> frozenset[str]:
    """Components that an overlay has already, those of overlays that it stands on included."""
    folder = K8S / "overlays" / overlay
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found = {Path(component).name for component in kustomization.get("components", [])}
    for resource in kustomization.get("resources", []):
        if (folder / resource).resolve().parent == K8S / "overlays":
            found |= inside(Path(resource).name)
    return frozenset(found & set(COMPONENTS))


def every(overlay: str) -> Iterator[tuple[str, ...]]:
    """Every set of components that can be added to an overlay, the empty one first."""
    own = inside(overlay)
    free = [name for name in COMPONENTS if name not in own and overlay in ONLY.get(name, OVERLAYS)]
    for size in range(len(free) + 1):
        for chosen in itertools.combinations(free, size):
            if _go_together(own | set(chosen)):
                yield chosen


def selected(overlay: str, *, pairs: bool) -> list[tuple[str, ...]]:
    """Of `every`, those that show what one component, two that meet (if `pairs`), and as many as can do to another."""
    possible = list(every(overlay))
    as_sets = [frozenset(chosen) for chosen in possible]
    return [
        chosen
        for chosen, members in zip(possible, as_sets, strict=True)
        if len(chosen) <= (2 if pairs else 1) or not any(members < other for other in as_sets)
    ]


def _go_together(components: frozenset[str]) -> bool:
    if any(pair <= components for pair in CONFLICTS):
        return False
    return all(needed <= components for name, needed in NEEDS.items() if name in components)
