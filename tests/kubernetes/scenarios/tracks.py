"""Both tracks of a canary on a cluster, and what `ferry rollout` says of them."""

from __future__ import annotations

import subprocess
import sys

from tests.deploy.manifests import Json, ferry, name
from tests.kubernetes.scenarios.cluster import Cluster, trial
from tests.processes import ROOT

NEXT = "localhost/ferry/classifier-next:0.1.0"
"""Has a second version of arcface (next.Dockerfile)."""
CANARY = "classifier-arcface-canary"


def rollout(*arguments: str) -> str:
    """What `ferry rollout` says; it succeeds."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "rollout", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def both_tracks(*components: str) -> tuple[Json, ...]:
    """Two replicas of stable, one of the canary, whose arcface is version 2; with further components."""
    objects = trial(components=("canary", *components))
    for workload in ferry(objects):
        if not name(workload).endswith("-canary"):
            continue
        workload["spec"]["replicas"] = 1
        if name(workload) == CANARY:
            template = workload["spec"]["template"]
            template["metadata"]["labels"]["ferry/model-version"] = "2"
            (container,) = template["spec"]["containers"]
            container["image"] = NEXT
            next(v for v in container["env"] if v["name"] == "FERRY_MODELS")["value"] = "arcface:2"
    return objects


def without_canary(cluster: Cluster) -> None:
    """Back to one track, and to a routing table as it is delivered."""
    gone = [f"deployment/{name(item)}" for item in ferry(both_tracks()) if name(item).endswith("-canary")]
    cluster.kubectl.apply(trial())
    cluster.kubectl("delete", *gone, "deployment/judge", "configmap/routing", "--ignore-not-found")
    cluster.settled()
