"""An upgrade from an earlier release and the way back, service by service, while callers call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import Json, ferry, name
from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import calling
from tests.kubernetes.scenarios.cluster import Cluster, sized, trial
from tests.kubernetes.scenarios.conftest import judged

PREVIOUS = os.environ.get("FERRY_E2E_PREVIOUS", "")


@pytest.mark.skipif(not PREVIOUS, reason="name an earlier revision: CLUSTER_FLAGS='--previous REVISION'")
def test_to_this_version_and_back(installed: Cluster, request: pytest.FixtureRequest) -> None:
    old = sized(yaml.safe_load_all(Path(PREVIOUS).read_text()), replicas=2)
    new = trial()
    with judged(request.config, "from an earlier release to this one and back, the gateway first each time") as run:
        try:
            installed.kubectl.apply(old)
            installed.settled()
            with calling(installed.in_namespace(callers.NAMESPACE), "caller", node=installed.steady) as made:
                run.outcome.calls = made.calls
                for objects, what in ((new, "this version"), (old, "the earlier one")):
                    run.event(f"gateway: {what}")
                    installed.kubectl.apply(with_gateway(objects))
                    installed.settled()
                    run.event(f"all: {what}")
                    installed.kubectl.apply(objects)
                    installed.settled()
            assert not run.outcome.failures, run.outcome.said()
            assert not any(installed.restarts().values()), installed.restarts()
        finally:
            installed.kubectl.apply(new)
            installed.settled()


def with_gateway(objects: tuple[Json, ...]) -> list[Json]:
    """All but the Deployments of the services behind the gateway."""
    behind = {name(item) for item in ferry(objects)} - {"gateway"}
    return [item for item in objects if item["kind"] != "Deployment" or name(item) not in behind]
