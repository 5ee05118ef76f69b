"""`ferry rollout status` says why a rollout stands still, and how to go back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from cli.rollout.standstill import Standstill, standstills
from tests.deploy.manifests import Json, labels, name, of_kind, render

REFUSAL = "there is no version 9 of model 'detector'; it has 1"


class Told:
    """A kubectl that knows of these pods, events and analyses."""

    def __init__(self, *pods: Json, events: tuple[Json, ...] = (), analyses: tuple[Json, ...] = ()) -> None:
        self.known = {"pods": pods, "events": events, "analysisruns.argoproj.io": analyses}

    def get(self, *arguments: str) -> Json:
        return {"items": list(self.known[arguments[0]])}


def workloads(kind: str = "Deployment", **status: Any) -> dict[str, Json]:
    """Ferry's, of which the detector's has a pod that is not available."""
    found = {name(item): dict(item) for item in of_kind(render("cpu"), "Deployment")}
    for item in found.values():
        item["metadata"] = {**item["metadata"], "generation": 1}
        item["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    found["detector"]["status"] |= {"availableReplicas": 0, **status}
    found["detector"]["kind"] = kind
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


def warning(about: str, reason: str, message: str, at: str = "2026-11-29T10:00:00Z") -> Json:
    return {"involvedObject": {"name": about}, "reason": reason, "message": message, "lastTimestamp": at}


def ask(*pods: Json, **status: Any) -> list[Standstill]:
    return standstills(Told(*pods), "ferry", list(workloads(**status).values()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"containerStatuses": crash(f"starting\n{REFUSAL}\n")}, f"ferry ended with 1 (Error): {REFUSAL}"),
        (
            {"containerStatuses": crash(json.dumps({"level": "ERROR", "message": REFUSAL}))},
            f"ferry ended with 1 (Error): {REFUSAL}",
        ),
        ({"containerStatuses": crash("[" * 5000)}, f"ferry ended with 1 (Error): {'[' * 299}…"),
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
    assert found.workload == "deployment/detector"
    assert found.reasons == (f"pod detector-5c9f-x: {said}",)
    assert found.back == "kubectl --namespace ferry rollout undo deployment/detector"


def test_a_quota_is_named_although_there_is_no_pod() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small, requested: cpu=1"}
    (found,) = ask(conditions=[refused])
    assert found.reasons == ("exceeded quota: small, requested: cpu=1",)


def test_pods_that_only_start_have_no_reason() -> None:
    (found,) = ask(pod("detector", containerStatuses=container(state={"running": {}})))
    assert found.reasons == ()


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "tls" :\n secret "gateway-tls" not found',
            ' secret "gatewa',
        ),
        ("Unhealthy", "Readiness probe failed: service unhealthy (responded with NOT_SERVING)", " service unhealthy"),
    ],
)
def test_what_only_events_say_of_a_pod_is_given(reason: str, message: str, said: str) -> None:
    starting = pod("detector", containerStatuses=container(state={"waiting": {"reason": "ContainerCreating"}}))
    late = warning("detector-5c9f-x", reason, message, "2026-11-29T10:02:00Z")
    others = [warning("detector-5c9f-x", "BackOff", "later"), warning("detector-5c9f-y", reason, "of another")]
    told = Told(starting, events=(late, *others, warning("detector-5c9f-x", reason, "earlier")))
    (found,) = standstills(told, "ferry", list(workloads().values()))  # type: ignore[arg-type]
    (reason_,) = found.reasons
    assert reason_.startswith(f"pod detector-5c9f-x: {reason}: ")
    assert said in reason_


def test_patience_that_ended_is_named_where_nothing_else_is_known() -> None:
    late = {"type": "Progressing", "status": "False", "message": 'ReplicaSet "detector-5c9f" has timed out.'}
    (found,) = ask(pod("detector", containerStatuses=container(state={"running": {}})), conditions=[late])
    assert found.reasons == ('ReplicaSet "detector-5c9f" has timed out.',)


def test_a_quota_that_stops_a_stateful_set_is_named_by_its_event() -> None:
    refused = warning("detector", "FailedCreate", "create Pod detector-0 failed: exceeded quota: small")
    other = warning("somebody", "FailedCreate", "exceeded quota: theirs")
    told = Told(events=(other, refused))
    (found,) = standstills(told, "ferry", list(workloads("StatefulSet").values()))  # type: ignore[arg-type]
    assert found.workload == "statefulset/detector"
    assert found.reasons == ("create Pod detector-0 failed: exceeded quota: small",)
    assert found.back == "kubectl --namespace ferry rollout undo statefulset/detector"


# As Argo Rollouts 1.10 writes them.
ABORTED = {
    "phase": "Degraded",
    "abort": True,
    "currentPodHash": "79dc8b9f5",
    "message": 'RolloutAborted: Rollout aborted update to revision 2: Metric "latency" assessed Failed due to '
    "failed (2) > failureLimit (1)",
    "availableReplicas": 1,
}
ANALYSIS = {
    "metadata": {
        "name": "detector-79dc8b9f5-2-1",
        "labels": {"rollouts-pod-template-hash": "79dc8b9f5"},
        "ownerReferences": [{"kind": "Rollout", "name": "detector"}],
    },
    "status": {
        "phase": "Failed",
        "metricResults": [
            {"name": "errors", "phase": "Running", "measurements": [{"phase": "Successful", "value": "[0]"}]},
            {"name": "latency", "phase": "Failed", "measurements": [{"phase": "Failed", "value": "[3.4]"}] * 2},
        ],
    },
}


def test_a_failed_analysis_is_named_with_what_it_measured() -> None:
    old = copy.deepcopy(ANALYSIS)
    old["metadata"] |= {"name": "detector-5c9f-1-1", "labels": {"rollouts-pod-template-hash": "5c9f"}}
    told = Told(analyses=(old, ANALYSIS))
    (found,) = standstills(told, "ferry", list(workloads("Rollout", **ABORTED).values()))  # type: ignore[arg-type]
    assert found.workload == "rollout/detector"
    assert found.reasons == (
        f"given up; the former version has all callers: {ABORTED['message']}",
        "analysis detector-79dc8b9f5-2-1: latency Failed (measured [3.4], [3.4])",
    )
    assert found.back == "kubectl argo rollouts --namespace ferry undo detector"


def test_a_rollout_that_waits_for_a_person_says_what_he_can_do() -> None:
    paused = {"phase": "Paused", "message": "InconclusiveAnalysisRun", "availableReplicas": 1}
    (found,) = standstills(Told(), "ferry", list(workloads("Rollout", **paused).values()))  # type: ignore[arg-type]
    assert found.reasons == (
        "paused: InconclusiveAnalysisRun",
        "go on: kubectl argo rollouts promote detector; give up: kubectl argo rollouts abort detector",
    )


def test_where_all_is_well_pods_are_not_asked_for() -> None:
    well = [item for key, item in workloads().items() if key != "detector"]
    never: Callable[..., Any] = lambda *_: pytest.fail("asked")  # noqa: E731
    told = Told()
    told.get = never  # type: ignore[method-assign]
    assert standstills(told, "ferry", well) == []  # type: ignore[arg-type]
