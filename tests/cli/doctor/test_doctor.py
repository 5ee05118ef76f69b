"""`ferry doctor` on recorded answers: a namespace that is well, and each thing that can be wrong with one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.doctor import running, standing
from cli.doctor.command import examine
from cli.doctor.finding import Finding, Verdict
from cli.doctor.inside import Inside, understood
from cli.doctor.seen import Seen, name
from cli.rollout.standstill import Standstill
from tests.deploy.manifests import Json

RECORDED = Path(__file__).with_name("recorded.json")
"""Of Kubernetes 1.37 with overlay `local`, two replicas of each service, and the base's autoscaler of the detector."""
NOW = 1_800_000_000.0


def inside(pod: Json, model: str) -> Inside:
    """As a pod answers that is well."""
    component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    metrics = ["ferry_gateway_able 1.0"] if component == "gateway" else []
    if model:
        labels = f'model="{model}",version="1",digest="0123456789ab",backend="openvino:cpu",precision="fp32"'
        metrics = [f"ferry_model_info{{{labels}}} 1.0", f'ferry_model_load_failures{{model="{model}"}} 0.0']
    said: Json = {"time": NOW, "metrics": metrics}
    if component == "gateway":
        said["redis"] = ""
    return understood(said, NOW, 0.2)


@pytest.fixture
def seen() -> Seen:
    """A namespace that is well."""
    found = json.loads(RECORDED.read_text())
    own = [pod for pod in found["pods"] if pod["metadata"]["labels"]["app.kubernetes.io/name"] == "ferry"]
    return Seen(
        namespace="ferry",
        callers=["shop"],
        stuck=[],
        inside={name(pod): inside(pod, pod["metadata"]["labels"].get("ferry/model", "")) for pod in own},
        **found,
    )


def lines(findings: list[Finding], verdict: Verdict) -> list[str]:
    return [f"{one.check}: {one.said}" for one in findings if one.verdict is verdict]


def test_a_namespace_that_is_well_has_nothing_bad(seen: Seen) -> None:
    findings = examine(seen)
    assert lines(findings, Verdict.WRONG) == []
    assert {one.check for one in findings} == {
        "kubernetes",
        "replicas",
        "restarts",
        "images",
        "autoscaling",
        "drain",
        "policies",
        "pod security",
        "callers",
        "answers",
        "models",
        "certificates",
        "redis",
        "clocks",
    }
    assert all(bool(one.remedy) == (one.verdict is not Verdict.GOOD) for one in findings)


def changed(seen: Seen, where: str, which: str, change: Callable[[Json], Any]) -> Seen:
    """With one object changed."""
    items = copy.deepcopy(getattr(seen, where))
    change(next(item for item in items if name(item).startswith(which)))
    return replace(seen, **{where: items})


def with_inside(seen: Seen, which: str, **values: Any) -> Seen:
    """With another answer of the first pod of a service."""
    pod = next(pod for pod in seen.inside if pod.startswith(which))
    return replace(seen, inside={**seen.inside, pod: replace(seen.inside[pod], **values)})


def model(version: str) -> list[tuple[str, dict[str, str], float]]:
    return [("ferry_model_info", {"model": "detector", "version": version, "digest": "ab"}, 1.0)]


def unknown_metric(item: Json) -> None:
    item["status"]["conditions"] = [
        {"type": "ScalingActive", "status": "False", "message": "unable to get metric ferry_inference_in_flight"}
    ]


BROKEN: dict[str, tuple[Callable[[Seen], Seen], str]] = {
    "old cluster": (lambda s: replace(s, server={**s.server, "minor": "31+"}), "kubernetes: v1."),
    "nothing there": (lambda s: replace(s, workloads=[]), "replicas: nothing of Ferry's runs in namespace ferry"),
    "stuck": (
        lambda s: replace(s, stuck=[Standstill("deployment/detector", ("pod x: ferry ended with 1",), "undo it")]),
        "replicas: deployment/detector: 2 of 2 serve; pod x: ferry ended with 1",
    ),
    "unknown metric": (
        lambda s: changed(s, "autoscalers", "detector", unknown_metric),
        "unable to get metric ferry_inference_in_flight",
    ),
    "no budget": (lambda s: replace(s, budgets=s.budgets[1:]), "has no PodDisruptionBudget"),
    "budget spent": (
        lambda s: changed(s, "budgets", "ensembler", lambda item: item["status"].update(disruptionsAllowed=0)),
        "drain: ensembler: its budget lets no pod go at present",
    ),
    "open": (
        lambda s: replace(s, policies=[p for p in s.policies if name(p) != "deny-all"]),
        "policies: pods may talk to anybody",
    ),
    "no variant": (
        lambda s: with_inside(s, "gateway", series=[("ferry_gateway_able", {}, 0.0)]),
        "answers: no variant answers gateway-",
    ),
    "two versions": (
        lambda s: with_inside(s, "detector", series=model("2")),
        "models: detector: ",
    ),
    "cannot load": (
        lambda s: with_inside(s, "detector", series=[("ferry_model_load_failures", {"model": "detector"}, 3.0)]),
        "cannot load a version of detector (3 attempts)",
    ),
    "no redis": (
        lambda s: with_inside(s, "gateway", redis="TimeoutError"),
        "redis: 1 of 2 gateways do not reach it (TimeoutError)",
    ),
    "clock": (lambda s: with_inside(s, "detector", skew=-30.0), "clocks: nodes are at least 29.6 s apart"),
    "certificate": (
        lambda s: with_inside(s, "ensembler", certificate_error="certificate has expired"),
        "certificate has expired",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_said_with_what_to_do(seen: Seen, case: str) -> None:
    breaking, said = BROKEN[case]
    found = [one for one in examine(breaking(seen)) if one.verdict is Verdict.WRONG]
    assert len(found) == 1
    assert said in f"{found[0].check}: {found[0].said}"
    assert found[0].remedy


def test_where_nothing_runs_nothing_else_is_said(seen: Seen) -> None:
    assert [one.check for one in examine(replace(seen, workloads=[]))] == ["kubernetes", "replicas"]


def test_a_certificate_that_is_not_renewed_is_told_in_time(seen: Seen) -> None:
    week = 7 * 86400
    young = with_inside(seen, "ensembler", certificate=(NOW, NOW + week))
    (finding,) = standing.certificates(young, NOW + week / 2)
    assert (finding.verdict, finding.said) == (Verdict.GOOD, "1 pods, the first to end in 3.5 days")
    (finding,) = standing.certificates(young, NOW + 0.9 * week)
    assert (finding.verdict, finding.said.partition(": ")[2]) == (Verdict.WRONG, "17 h of 168 h are left")


def test_a_pod_that_cannot_be_asked_is_no_alarm_and_is_named(seen: Seen) -> None:
    pod = next(pod for pod in seen.inside if pod.startswith("gateway"))
    found = list(running.ability(replace(seen, inside={**seen.inside, pod: Inside(error="forbidden")})))
    assert [one.verdict for one in found] == [Verdict.ADVICE, Verdict.GOOD]
    assert f"{pod} could not be asked: forbidden" in found[0].said


def test_one_replica_is_advised_against(seen: Seen) -> None:
    single = changed(seen, "workloads", "gateway", lambda item: item["spec"].update(replicas=1))
    assert lines(list(standing.drains(single)), Verdict.ADVICE) == [
        "drain: gateway has one replica: a drain interrupts it"
    ]
