"""What must never break: from nothing to an answer, drain, restart, a bad rollout. Run by every check."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.deploy.manifests import Json, name
from tests.kubernetes.scenarios.callers import NAMESPACE, calling
from tests.kubernetes.scenarios.cluster import PATIENCE, Cluster
from tests.kubernetes.scenarios.conftest import Scenario, judged
from tests.processes import ROOT, until

pytestmark = pytest.mark.core
PATIENT = "--timeout=30"
"""For callers on a machine that is busy with other things, too; how long they waited is printed."""


def test_from_nothing_to_an_answer(cluster: Cluster, objects: tuple[Json, ...], request: pytest.FixtureRequest) -> None:
    with judged(request.config, "from nothing to a complete answer") as run:
        began = time.time()
        cluster.kubectl.apply(objects)
        run.event("applied")
        with calling(cluster.in_namespace(NAMESPACE), "first", "--pause=0.5", node=cluster.steady) as callers:
            until(
                lambda: any(call.faces == 1 and not call.degraded for call in callers.calls),
                seconds=300,
                what=f"a complete answer (so far: {[call.error for call in callers.calls[-3:]]})",
                pause=0.2,
            )
        first = next(call for call in callers.calls if call.faces == 1 and not call.degraded)
        run.fact(f"a complete answer {first.began + first.seconds - began:.0f} s after apply, on two nodes")
        cluster.settled()
        assert not any(cluster.restarts().values()), cluster.restarts()
        run.fact(warnings(cluster))


def test_a_node_is_drained(installed: Cluster, scenario: Scenario) -> None:
    with scenario("drain of a node", PATIENT) as run:
        here = [name(item) for item in installed.pods(node=installed.victim)]
        run.event(f"drain of {len(here)} pods")
        flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", PATIENCE)
        installed.kubectl("drain", installed.victim, *flags)
        run.event("drained")
        assert not installed.pods(node=installed.victim)
        installed.kubectl("uncordon", installed.victim)
        installed.settled()


def test_everything_restarts_at_once(installed: Cluster, scenario: Scenario) -> None:
    with scenario("all Deployments restarted at once", PATIENT) as run:
        run.event("restart")
        installed.kubectl("rollout", "restart", "deployment")
        installed.settled()
        run.event("rolled out")
        run.fact(warnings(installed))


def test_a_version_that_does_not_exist_stops_its_rollout(installed: Cluster, scenario: Scenario) -> None:
    with scenario("a model version that does not exist, and undo", PATIENT) as run:
        run.restarts = True
        before = installed.kubectl.get("deployment", "detector")["spec"]["template"]
        run.event("FERRY_MODEL=detector:9")
        installed.kubectl("set", "env", "deployment/detector", "FERRY_MODEL=detector:9")
        until(lambda: "there is no version 9" in last_words(installed), seconds=120, what="a refusal", pause=0.5)
        run.event("refused")
        # It fails in the end where there is no canary; what stands still it says before.
        told = subprocess.run(
            [sys.executable, "-c", "from cli.main import main; main()", "rollout", "status"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "there is no version 9 of model 'detector'" in told.stdout, told.stdout + told.stderr
        assert "rollout undo deployment/detector" in told.stdout
        assert len(ready(installed)) == 2, "a pod that served was taken away"
        installed.kubectl("rollout", "undo", "deployment/detector")
        installed.settled()
        run.event("undone")
        assert installed.kubectl.get("deployment", "detector")["spec"]["template"] == before


def warnings(cluster: Cluster) -> str:
    """How many startup probes failed; test_start.py asks for none, on nodes that have nothing else to do."""
    return f"{len(cluster.unhealthy('Startup'))} warnings of starts"


def ready(cluster: Cluster) -> list[Json]:
    return [
        item
        for item in cluster.pods("detector")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"])
    ]


def last_words(cluster: Cluster) -> str:
    """What ended containers of the detector left behind."""
    found = []
    for item in cluster.kubectl.get("pods", "--selector=app.kubernetes.io/component=detector")["items"]:
        for status in item["status"].get("containerStatuses", []):
            for state in (status.get("state", {}), status.get("lastState", {})):
                found.append(state.get("terminated", {}).get("message", ""))
    return "\n".join(found)
