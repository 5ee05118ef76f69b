"""Every panel, rule, alert and scaler finds numbers in a real Prometheus that scrapes the real services under load."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import start_http_server

from cli.cluster import Cluster
from ferry.v1 import gateway_pb2_grpc
from serving.telemetry import gpu, metrics
from serving.telemetry.gpu import Reading
from tests.deploy.expressions import (
    KUBERNETES,
    alerts,
    in_adapter,
    in_dashboards,
    in_keda,
    rule_groups,
    rules,
    selectors,
    without_thresholds,
)
from tests.e2e.conftest import SAMPLES
from tests.e2e.exporter import kubernetes_exporter
from tests.e2e.load import every_kind_of_load
from tests.e2e.prometheus import MISSING, PROMETHEUS, Prometheus, prometheus
from tests.processes import free_port, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PROMETHEUS is None, reason=MISSING),
]
STAND_INS = {
    "kubernetes": "the kubelet and kube-state-metrics; a stand-in exports the series of expressions.KUBERNETES",
    "gpu": "the services export them only where the driver finds a GPU; here the same code reads a fake driver",
    "judge": "nobody has a canary to judge or a baseline here; this process exports what a judge and a gateway would",
}
"""Jobs whose metrics the services of one machine without a GPU cannot export, with the reason."""
WINDOW = "30s"


def _pod(service: str) -> str:
    return f"{service}-5d8f7c9b4-x2x7z"


def scrape_jobs(cluster: Cluster, kubernetes: int, driver: int) -> list[dict[str, Any]]:
    """The services with the labels that the ServiceMonitor and the Prometheus Operator would give them."""
    jobs = []
    for endpoint in cluster.endpoints:
        if endpoint.metrics:
            labels = {"namespace": "ferry", "pod": _pod(endpoint.name), "service": endpoint.name, "container": "ferry"}
            targets = [{"targets": [endpoint.metrics], "labels": labels}]
            jobs.append({"job_name": endpoint.name, "static_configs": targets})
    address = {"targets": [f"127.0.0.1:{kubernetes}"]}
    jobs.append({"job_name": "kubernetes", "honor_labels": True, "static_configs": [address]})
    address = {"targets": [f"127.0.0.1:{driver}"], "labels": {"namespace": "ferry", "pod": _pod("detector")}}
    only = {"name[]": ["ferry_gpu_utilization_ratio", "ferry_gpu_memory_bytes"]}
    jobs.append({"job_name": "gpu", "params": only, "static_configs": [address]})
    judge = {"name[]": ["ferry_verdict_interval", "ferry_verdict_worse", "ferry_judge_actions_total"]}
    judge["name[]"] += ["ferry_drift_psi", "ferry_drift_p_value"]
    address = {"targets": [f"127.0.0.1:{driver}"], "labels": {"namespace": "ferry", "pod": _pod("judge")}}
    jobs.append({"job_name": "judge", "params": judge, "static_configs": [address]})
    assert {job["job_name"] for job in jobs} - {e.name for e in cluster.endpoints} == set(STAND_INS)
    return jobs


@pytest.fixture(scope="module")
def gpu_exporter() -> Iterator[int]:
    """The port of this process' own metrics, with one GPU."""
    watch = gpu.watch(lambda: lambda: [Reading("0", 0.5, 2**30)], 0.1)
    for metric in ("accuracy", "errors", "latency-p95"):
        metrics.VERDICT_WORSE.labels("canary", metric).set(0)
        for end in ("low", "high"):
            metrics.VERDICT.labels("canary", metric, end).set(0.01)
    metrics.JUDGE_ACTIONS.labels("roll_back", "errors").inc()
    metrics.DRIFT_PSI.labels("canary", "brightness").set(0.3)
    metrics.DRIFT_P.labels("canary", "brightness").set(0.0)
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1")
    yield port
    watch.stop(30)
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture(scope="module")
def loaded(
    cluster: Cluster,
    gateway: gateway_pb2_grpc.ExpressionRecognitionStub,
    gpu_exporter: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """A Prometheus over the cluster, which is under load for as long as this is used."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    pods = {_pod(endpoint.name): endpoint.name for endpoint in cluster.endpoints if endpoint.metrics}
    with (
        kubernetes_exporter(pods) as kubernetes,
        prometheus(folder, scrape_jobs(cluster, kubernetes, gpu_exporter), rule_groups()) as server,
        every_kind_of_load(gateway, SAMPLES["eileen-collins"].read_bytes()),
    ):
        yield server


def numbers(server: Prometheus, expression: str) -> str:
    """What is wrong with the answer to an expression; nothing: it has series, and all are numbers."""
    found = server.query(expression)
    if not found:
        return "is empty"
    bad = [(labels, value) for labels, value in found if not math.isfinite(value)]
    return f"is not a number for {bad}" if bad else ""


def all_become_numbers(server: Prometheus, expressions: Sequence[str]) -> None:
    """Waits until each has been answered with numbers once; load takes a moment until it is seen."""
    left = dict.fromkeys(expressions, "has not been asked")

    def done() -> bool:
        for expression in list(left):
            left[expression] = numbers(server, expression)
            if not left[expression]:
                del left[expression]
        return not left

    assert len(left) > 0
    try:
        until(done, seconds=120, what="numbers", pause=0.5)
    except TimeoutError:
        pytest.fail("\n".join(f"{expression}\n  {problem}" for expression, problem in left.items()))


@pytest.mark.slow
def test_every_panel_shows_numbers(loaded: Prometheus) -> None:
    all_become_numbers(loaded, in_dashboards(WINDOW, "ferry"))


def test_dashboards_find_the_namespace(loaded: Prometheus) -> None:
    until(
        lambda: loaded.get("/api/v1/label/namespace/values", **{"match[]": "ferry_model_info"}) == ["ferry"],
        what="the namespace",
    )


def test_every_rule_has_a_value(loaded: Prometheus) -> None:
    recorded = [rule for rule in rules() if "record" in rule]
    all_become_numbers(loaded, [rule["expr"] for rule in recorded])
    # And Prometheus itself has recorded it.
    all_become_numbers(loaded, [rule["record"] for rule in recorded])


def test_every_alert_compares_numbers(loaded: Prometheus) -> None:
    all_become_numbers(loaded, [part for alert in alerts() for part in without_thresholds(alert["expr"])])


def test_what_scales_finds_every_pod(loaded: Prometheus) -> None:
    pods = [_pod(f"classifier-{name}") for name in ("efficientnet", "arcface")] + [_pod("detector")]
    expressions = [*in_keda(), *in_adapter("ferry", "|".join(pods))]
    all_become_numbers(loaded, expressions)
    assert {labels["pod"] for labels, _ in loaded.query(expressions[-1])} == set(pods)


def test_no_alert_fires_on_a_cluster_that_is_well(loaded: Prometheus) -> None:
    all_become_numbers(loaded, ["ALERTS"])
    firing = {labels["alertname"] for labels, _ in loaded.query('ALERTS{alertstate="firing"}')}
    # How fast answers are depends on the machine that runs the test.
    assert firing <= {"FerryLatencyBudgetBurn", "FerryQueueing"}


def test_an_expression_without_numbers_is_noticed(loaded: Prometheus) -> None:
    all_become_numbers(loaded, ["ferry_model_info"])
    assert numbers(loaded, "ferry_no_such_metric") == "is empty"
    assert numbers(loaded, "0 * ferry_model_info / 0").startswith("is not a number")
    with pytest.raises(AssertionError, match="parse error"):
        numbers(loaded, "sum(")


def test_the_stand_ins_export_what_is_asked_for_and_no_more(loaded: Prometheus) -> None:
    names = {labels["__name__"] for labels, _ in loaded.query('{job="kubernetes"}')}
    ours = {name for name in names if re.match("container_|kube_", name) and not name.endswith("_created")}
    assert ours == set(KUBERNETES)
    asked = {metric for expression in in_dashboards() for metric, _ in selectors(expression)}
    assert asked >= {"ferry_gpu_utilization_ratio", "ferry_gpu_memory_bytes"}
