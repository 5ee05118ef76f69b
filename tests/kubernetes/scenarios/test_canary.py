"""A second version of a model for a share of the callers: as many as set, always the same ones, and the way back."""

from __future__ import annotations

import json
import math
from collections import defaultdict

import pytest

from tests.deploy.manifests import name
from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import calling
from tests.kubernetes.scenarios.cluster import Cluster, has_image
from tests.kubernetes.scenarios.conftest import judged
from tests.kubernetes.scenarios.tracks import NEXT, both_tracks, rollout, without_canary
from tests.processes import until

SHARE, CALLERS = 0.3, 120
_SIGMAS = 4
"""Of a binomial distribution: a right share is outside of them once in 15,000 runs."""


def test_shares_stickiness_promotion_and_the_way_back(installed: Cluster, request: pytest.FixtureRequest) -> None:
    if not has_image(installed, NEXT):
        pytest.skip(f"no node has {NEXT} (scenarios/next.Dockerfile)")
    outside = installed.in_namespace(callers.NAMESPACE)

    def forced(variant: str) -> set[str]:
        """Versions of arcface that answer who asks for a variant."""
        with calling(outside, "forced", "--calls=2", f"--metadata=x-ferry-variant={variant}") as made:
            made.finished()
        assert {call.variant for call in made.calls} == {variant}, made.calls
        return {model for call in made.calls for model in call.models if model.startswith("arcface")}

    with judged(request.config, "canary: share, promote, rollback") as run:
        try:
            installed.kubectl.apply(both_tracks())
            installed.settled()
            with calling(outside, "steady", node=installed.steady) as steady:
                run.outcome.calls = steady.calls
                assert forced("canary") == {"arcface:2"}
                assert forced("stable") == {"arcface:1"}
                run.event(f"canary {SHARE:.0%}")
                rollout("canary", "--weight", str(SHARE))
                until(lambda: followed(installed, SHARE), seconds=120, what="gateways that follow", pause=2)
                answered = taken(outside, "crowd")
                spread = _SIGMAS * math.sqrt(CALLERS * SHARE * (1 - SHARE))
                assert abs(len(answered) - CALLERS * SHARE) <= spread, f"{len(answered)} of {CALLERS} callers"
                assert taken(outside, "crowd") == answered, "callers changed their variant"
                run.fact(f"{len(answered)} of {CALLERS} callers at {SHARE:.0%}, twice the same ones")
                run.event("promote")
                rollout("promote")
                installed.settled()  # pods of the former version answer until they end
                assert forced("stable") == {"arcface:2"}
                run.event("rollback")
                rollout("rollback")
                installed.settled()
                assert forced("stable") == {"arcface:1"}
            assert not run.outcome.failures, run.outcome.said()
        finally:
            without_canary(installed)


def followed(cluster: Cluster, share: float) -> bool:
    """Whether every gateway has a table that gives the canary this share: they read a ConfigMap one after the other."""
    logs = [cluster.kubectl("logs", name(pod)).splitlines() for pod in cluster.pods("gateway")]
    tables = [[json.loads(line)["shares"] for line in lines if "routing table in use" in line] for lines in logs]
    return all(found and found[-1]["canary"] == share for found in tables)


def taken(kubectl: callers.Kubectl, pod: str) -> set[int]:
    """The callers whom the canary answers; each calls twice, with a key of its own, and gets the same variant."""
    flags = ("--keys", "--caching", f"--callers={CALLERS}", "--calls=2", "--timeout=60", "--pause=0")
    with calling(kubectl, pod, *flags) as made:
        made.finished()
    variants: dict[int, set[str]] = defaultdict(set)
    for call in made.calls:
        assert not call.failed, call.error
        variants[call.caller].add(call.variant)
    assert all(len(found) == 1 for found in variants.values()), "a caller changed between variants"
    return {caller for caller, found in variants.items() if found == {"canary"}}
