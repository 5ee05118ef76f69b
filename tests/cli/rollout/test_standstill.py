"""`ferry rollout status` says why a rollout stands still, and how to go back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli.rollout.standstill import Standstill, standstills
from tests.deploy.manifests import Json, labels, name, of_kind, render

REFUSAL = "there is no version 9 of model 'detector'; it has 1"


class Told:
    """A kubectl that knows of these pods."""

    def __init__(self, *pods: Json) -> None:
        self.pods = pods

    def get(self, *arguments: str) -> Json:
        assert arguments[0] == "pods"
        return {"items": list(self.pods)}


def deployments(**conditions: Json) -> dict[str, Json]:
    """Ferry's, of which the detector's has a pod that is not available."""
    found = {name(item): dict(item) for item in of_kind(render("cpu"), "Deployment")}
    for item in found.values():
        item["metadata"] = {**item["metadata"], "generation": 1}
        item["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    found["detector"]["status"] |= {"availableReplicas": 0, **conditions}
    return found


def pod(component: str, **status: Any) -> Json:
    (workload,) = [item for item in of_kind(render("cpu"), "Deployment") if name(item) == component]
    return {"metadata": {"name": f"{component}-5c9f-x", "labels": labels(workload)}, "status": status}


def container(**state: Any) -> list[Json]:
    return [{"name": "ferry", "state": {}, **state}]


def crash(message: str) -> list[Json]:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    return container(state=waiting, lastState=ended)


def ask(*pods: Json, **conditions: Json) -> list[Standstill]:
    return standstills(Told(*pods), "ferry", deployments(**conditions))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"containerStatuses": crash(f"starting\n{REFUSAL}\n")}, f"ferry ended with 1 (Error): {REFUSAL}"),
        (
            {"containerStatuses": crash(json.dumps({"level": "ERROR", "message": REFUSAL}))},
            f"ferry ended with 1 (Error): {REFUSAL}",
        ),
        (
            {"containerStatuses": container(lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})},
            "ferry ended with 137 (OOMKilled)",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes: 2 Insufficient cpu."}]},
            "cannot be scheduled: 0/2 nodes: 2 Insufficient cpu.",
        ),
        (
            {"containerStatuses": container(state={"waiting": {"reason": "ErrImagePull", "message": "not found"}})},
            "ferry waits: ErrImagePull: not found",
        ),
    ],
)
def test_a_pod_s_own_reason_is_given(status: Json, said: str) -> None:
    well = pod("gateway", conditions=[{"type": "Ready", "status": "True"}])
    (found,) = ask(well, pod("detector", **status))
    assert found.deployment == "detector"
    assert found.reasons == (f"pod detector-5c9f-x: {said}",)
    assert found.back == "kubectl --namespace ferry rollout undo deployment/detector"


def test_a_quota_is_named_although_there_is_no_pod() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small, requested: cpu=1"}
    (found,) = ask(conditions=[refused])  # type: ignore[arg-type]
    assert found.reasons == ("exceeded quota: small, requested: cpu=1",)


def test_pods_that_only_start_have_no_reason() -> None:
    (found,) = ask(pod("detector", containerStatuses=container(state={"running": {}})))
    assert found.reasons == ()


def test_where_all_is_well_pods_are_not_asked_for() -> None:
    well = {key: item for key, item in deployments().items() if key != "detector"}
    never: Callable[..., Any] = lambda *_: pytest.fail("asked")  # noqa: E731
    told = Told()
    told.get = never  # type: ignore[method-assign]
    assert standstills(told, "ferry", well) == []  # type: ignore[arg-type]
