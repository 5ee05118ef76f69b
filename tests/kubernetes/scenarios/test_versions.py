"""An upgrade from an earlier release and the way back, service by service, while callers call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import Json, ferry, name, of_kind
from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import calling
from tests.kubernetes.scenarios.cluster import Cluster, sized, trial
from tests.kubernetes.scenarios.conftest import judged

IMMUTABLE = {"preemptionPolicy": "PreemptLowerPriority", "value": 0}
"""Fields of a priority class that an API server lets nobody change, with what they are where they are not given."""
PREVIOUS = os.environ.get("FERRY_E2E_PREVIOUS", "")


@pytest.mark.skipif(not PREVIOUS, reason="name an earlier revision: CLUSTER_FLAGS='--previous REVISION'")
def test_to_this_version_and_back(installed: Cluster, request: pytest.FixtureRequest) -> None:
    old = sized(yaml.safe_load_all(Path(PREVIOUS).read_text()), replicas=2)
    new = trial()
    with judged(request.config, "from an earlier release to this one and back, the gateway first each time") as run:
        try:
            apply(installed, old)
            installed.settled()
            with calling(installed.in_namespace(callers.NAMESPACE), "caller", node=installed.steady) as made:
                run.outcome.calls = made.calls
                for objects, what in ((new, "this version"), (old, "the earlier one")):
                    run.event(f"gateway: {what}")
                    apply(installed, with_gateway(objects))
                    installed.settled()
                    run.event(f"all: {what}")
                    apply(installed, objects)
                    installed.settled()
            assert not run.outcome.failures, run.outcome.said()
            assert not any(installed.restarts().values()), installed.restarts()
        finally:
            apply(installed, new)
            installed.settled()


def apply(cluster: Cluster, objects: Sequence[Json]) -> None:
    """As docs/operations.md says of upgrades: a priority class cannot be changed, so one that differs is made anew."""
    kubectl = cluster.kubectl
    there = {name(item): item for item in kubectl.get("priorityclasses")["items"]}
    for item in of_kind(tuple(objects), "PriorityClass"):
        before = there.get(name(item), {})
        if any(item.get(field, usual) != before.get(field, usual) for field, usual in IMMUTABLE.items()):
            kubectl("delete", "priorityclass", name(item), "--ignore-not-found")
    kubectl.apply(objects)


def with_gateway(objects: tuple[Json, ...]) -> list[Json]:
    """All but the Deployments of the services behind the gateway."""
    behind = {name(item) for item in ferry(objects)} - {"gateway"}
    return [item for item in objects if item["kind"] != "Deployment" or name(item) not in behind]
