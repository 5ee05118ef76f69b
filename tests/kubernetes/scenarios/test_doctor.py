"""`ferry doctor` on a real cluster: all is well, and then it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.deploy.manifests import Json
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import judged
from tests.processes import ROOT


def doctor() -> tuple[int, list[dict[str, Any]]]:
    """Its exit status and what it found."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return done.returncode, found


def bad(found: list[dict[str, Any]]) -> list[str]:
    return [f"{one['check']}: {one['said']}" for one in found if one["verdict"] == "wrong"]


def test_what_is_well_and_what_is_not(
    installed: Cluster, objects: tuple[Json, ...], request: pytest.FixtureRequest
) -> None:
    kubectl = installed.kubectl
    with judged(request.config, "ferry doctor") as run:
        code, found = doctor()
        assert (code, bad(found)) == (0, [])
        said = {one["check"]: one["said"] for one in found}
        assert said["redis"] == "answers 2 gateways"
        assert "in all 2" in said["models"]
        assert "12 pods agree" in said["clocks"] or "10 pods agree" in said["clocks"]
        assert said["callers"] == "from ferry-callers"
        run.fact(f"{len(found)} lines, none bad")

        kubectl("delete", "networkpolicy", "deny-all")
        kubectl("delete", "poddisruptionbudget", "ensembler")
        kubectl("scale", "statefulset/redis", "--replicas=0")
        kubectl("wait", "--for=delete", "pod/redis-0", "--timeout=60s")
        try:
            code, found = doctor()
            assert code == 1
            wrong = {one["check"]: one for one in found if one["verdict"] == "wrong"}
            assert set(wrong) == {"policies", "drain", "redis"}
            assert "ensembler has no PodDisruptionBudget" in wrong["drain"]["said"]
            assert all(one["remedy"] for one in wrong.values())
            run.fact(f"three things broken: {'; '.join(bad(found))}")
        finally:
            kubectl.apply(objects)
            installed.settled()
            kubectl("rollout", "status", "statefulset/redis", "--timeout=2m")
