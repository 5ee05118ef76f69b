"""What stops a rollout: `ferry rollout status` and `ferry doctor` say why, and the way back that they name works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.kubernetes.kubectl import Kubectl
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import Scenario
from tests.kubernetes.scenarios.test_doctor import doctor
from tests.processes import ROOT, until

DEPLOYMENT = "deployment/detector"


def quota(kubectl: Kubectl) -> None:
    """No pod more than there are."""
    there = len(kubectl.get("pods")["items"])
    limited = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none-more"}}
    kubectl.apply([{**limited, "spec": {"hard": {"pods": str(there)}}}])
    kubectl("rollout", "restart", DEPLOYMENT)


def too_large(kubectl: Kubectl) -> None:
    kubectl("set", "resources", DEPLOYMENT, "--requests=cpu=900", "--limits=cpu=900")


def no_image(kubectl: Kubectl) -> None:
    kubectl("set", "image", DEPLOYMENT, "ferry=localhost/ferry/detector:0.0.0")


def no_version(kubectl: Kubectl) -> None:
    kubectl("set", "env", DEPLOYMENT, "FERRY_MODEL=detector:9")


def no_secret(kubectl: Kubectl) -> None:
    volume = {"name": "keys", "secret": {"secretName": "not-there"}}
    container = {"name": "ferry", "volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}
    change = {"spec": {"template": {"spec": {"volumes": [volume], "containers": [container]}}}}
    kubectl("patch", DEPLOYMENT, "--patch", json.dumps(change))


def wrong_setting(kubectl: Kubectl) -> None:
    kubectl("set", "env", DEPLOYMENT, "FERRY_MAX_QUEUE=many")


@pytest.mark.parametrize(
    ("title", "spoil", "said"),
    [
        ("a quota", quota, "exceeded quota: none-more"),
        ("no node has the room", too_large, "cannot be scheduled: 0/2 nodes are available: 2 Insufficient cpu"),
        ("an image that cannot be pulled", no_image, r"waits: (ErrImagePull|ImagePullBackOff): .*detector:0\.0\.0"),
        ("a version that is missing", no_version, "there is no version 9 of model 'detector'"),
        ("a secret that is missing", no_secret, 'FailedMount: .*secret "not-there" not found'),
        ("a setting that is wrong", wrong_setting, "FERRY_MAX_QUEUE"),
    ],
)
def test_it_says_why_and_the_way_back(
    title: str, spoil: Any, said: str, installed: Cluster, scenario: Scenario
) -> None:
    with scenario(f"a rollout that stands still: {title}", "--timeout=30") as run:
        run.restarts = True
        kubectl = installed.kubectl
        before = kubectl.get("deployment", "detector")["spec"]["template"]["spec"]
        try:
            run.event(title)
            spoil(kubectl)
            until(lambda: re.search(said, status()), seconds=120, what=f"the reason ({status()})", pause=1)
            told = status()
            run.event("said")
            (reason,) = (line.strip() for line in told.splitlines() if re.search(said, line))
            run.fact(reason)
            code, found = doctor()
            (replicas,) = (one for one in found if one["check"] == "replicas" and one["verdict"] == "wrong")
            assert code == 1
            assert re.search(said, replicas["said"]), json.dumps(found, indent=1)
            (back,) = re.findall(r"back: (kubectl .*)", told)
            assert back in replicas["remedy"]
            subprocess.run(shlex.split(back), check=True, capture_output=True)
            run.event("back")
        finally:
            kubectl("delete", "resourcequota", "none-more", "--ignore-not-found")
        installed.settled()
        assert kubectl.get("deployment", "detector")["spec"]["template"]["spec"] == before


def status() -> str:
    """What `ferry rollout status` says."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "rollout", "status"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
