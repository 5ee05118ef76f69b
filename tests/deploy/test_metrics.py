"""Whatever dashboards, alerts and autoscaling ask Prometheus for is exported by the services, under those labels."""

from __future__ import annotations

import pytest

from tests.deploy.expressions import (
    KUBERNETES,
    declared,
    in_adapter,
    in_analyses,
    in_dashboards,
    in_keda,
    rules,
    selectors,
    without_thresholds,
)
from tests.deploy.manifests import ROOT, name, of_kind, render, walk

SCRAPED = {"namespace", "pod", "job", "container", "service", "instance", "alertname"}
"""Labels that scraping adds."""
PROMETHEUS = {"ALERTS"}
"""Series of Prometheus itself."""
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


@pytest.mark.parametrize(
    "expression",
    sorted({*in_dashboards(), *in_keda(), *in_adapter(), *in_analyses(), *(rule["expr"] for rule in rules())}),
)
def test_every_series_is_exported_with_the_labels_asked_for(expression: str) -> None:
    exported = declared() | KUBERNETES
    series = selectors(expression)
    assert series
    for metric, selected in series:
        assert metric in exported or metric in PROMETHEUS or metric in RECORDED, metric
        if metric in exported:
            assert selected - SCRAPED <= exported[metric], metric


def test_the_parser_finds_what_is_there() -> None:
    text = 'sum by (le, model) (rate(a_total{x="y",z=~"p|q"}[5m])) / on (m) group_left count(b) or vector(0)'
    assert selectors(text) == [("a_total", frozenset({"x", "z"})), ("b", frozenset())]


@pytest.mark.parametrize(
    ("alert", "compared"),
    [
        ("a / b > 2", ["a / b"]),
        ('a{x=~"p>q"} > 14.4 * 0.001\nand\nsum by (n) (b > 1) < 3', ['a{x=~"p>q"}', "sum by (n) (b > 1)"]),
        ('x{a!="b"} >= on (l) y', ['x{a!="b"}', "y"]),
        ('absent(x)\nor\nabsent(y{l="m"})', ["x", 'y{l="m"}']),
        ("a / on (n) group_left b > bool 0.5", ["a / on (n) group_left b"]),
    ],
)
def test_what_an_alert_compares_is_found(alert: str, compared: list[str]) -> None:
    assert [part.strip() for part in without_thresholds(alert)] == compared


def test_the_autoscaler_s_metric_is_exported_by_what_it_scales() -> None:
    scaled = {}
    for scaler in of_kind(render("cpu"), "HorizontalPodAutoscaler"):
        metrics = [m["pods"]["metric"]["name"] for m in scaler["spec"]["metrics"] if m["type"] == "Pods"]
        scaled[scaler["spec"]["scaleTargetRef"]["name"]] = metrics
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
        for metric in metrics:
            assert metric in declared()
            assert f"as: {metric}" in (ROOT / "deploy/prometheus/adapter-values.yaml").read_text()
    assert {target for target, metrics in scaled.items() if metrics} == {
        "detector",
        "classifier-efficientnet",
        "classifier-arcface",
    }


def test_keda_scales_as_the_autoscaler_would() -> None:
    plain = {name(s): s["spec"] for s in of_kind(render("cpu"), "HorizontalPodAutoscaler")}
    objects = render("cpu", ("keda",))
    scaled = {name(s): s["spec"] for s in of_kind(objects, "ScaledObject")}
    assert scaled.keys() | {name(s) for s in of_kind(objects, "HorizontalPodAutoscaler")} == plain.keys()
    for target, spec in scaled.items():
        other = plain[target]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (other["minReplicas"], other["maxReplicas"])
        assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == other["behavior"]
        load, cpu = spec["triggers"]
        assert load["metadata"]["threshold"] == other["metrics"][0]["pods"]["target"]["averageValue"]
        assert int(cpu["metadata"]["value"]) == other["metrics"][1]["containerResource"]["target"]["averageUtilization"]
        # A lost Prometheus must not look like no load, nor scale down.
        assert load["metadata"]["ignoreNullValues"] == "false"
        assert spec["fallback"]["replicas"] >= spec["minReplicaCount"]
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert f'job="{target}"' in load["metadata"]["query"]


def test_prometheus_finds_every_service() -> None:
    objects = render("cpu", ("monitoring",))
    (monitor,) = of_kind(objects, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    for service in of_kind(objects, "Service"):
        assert wanted.items() <= service["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        # The label `job` of all its series, which KEDA's queries select by.
        assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == name(service)


def test_containers_are_named_as_dashboards_and_scalers_expect() -> None:
    objects = render("cpu", ("keda",))
    named = {value for key, value in walk(list(objects)) if key in {"container", "containerName"}}
    assert named == {"ferry"}
