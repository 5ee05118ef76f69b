"""The collector's configuration: sound, and it keeps what somebody will look for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from serving.settings import ServiceSettings
from tests.deploy.expressions import alerts
from tests.deploy.manifests import Json, ferry, name, of_kind, pod, render, variables, workloads
from tests.deploy.quantities import quantity


@pytest.fixture(scope="module")
def objects() -> tuple[Json, ...]:
    return render("cpu", ("otel",))


@pytest.fixture(scope="module")
def config(objects: tuple[Json, ...]) -> Json:
    (data,) = [item["data"] for item in of_kind(objects, "ConfigMap") if name(item).startswith("otel-collector-")]
    loaded: Json = yaml.safe_load(data["collector-config.yaml"])
    return loaded


@pytest.fixture(scope="module")
def collector(objects: tuple[Json, ...]) -> Json:
    (found,) = [w for w in workloads(objects) if name(w) == "otel-collector"]
    return found


def test_what_pipelines_use_is_configured_and_nothing_else(config: Json) -> None:
    used: dict[str, set[str]] = {kind: set() for kind in ("receivers", "processors", "exporters")}
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in used.items():
            names.update(pipeline[kind])
    assert {kind: set(config[kind]) for kind in used} == used
    assert set(config["service"]["extensions"]) == set(config["extensions"])


def test_memory_is_limited_first_and_what_is_kept_is_sent_in_batches(config: Json, collector: Json) -> None:
    assert config["service"]["pipelines"]["traces"]["processors"] == ["memory_limiter", "tail_sampling", "batch"]
    (container,) = pod(collector)["containers"]
    limit = quantity(container["resources"]["limits"]["memory"])
    assert config["processors"]["memory_limiter"]["limit_mib"] * 2**20 < 0.9 * limit


def test_it_listens_where_its_service_and_its_probes_look(config: Json, collector: Json) -> None:
    (container,) = pod(collector)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == f"0.0.0.0:{ports['otlp']}"
    assert config["extensions"]["health_check"]["endpoint"] == f"0.0.0.0:{ports['health']}"


def test_every_service_sends_everything_there(objects: tuple[Json, ...]) -> None:
    for workload in ferry(objects):
        settings = variables(workload, objects)
        assert settings["FERRY_OTLP_ENDPOINT"] == "http://otel-collector:4317"
        assert settings["FERRY_TRACE_SAMPLE_RATIO"] == "1"


def test_a_trace_is_judged_after_its_longest_call(config: Json) -> None:
    wait = config["processors"]["tail_sampling"]["decision_wait"]
    assert float(wait.removesuffix("s")) > ServiceSettings.model_fields["default_timeout"].default


def kept(config: Json, *, error: bool, seconds: float) -> float:
    """The share of traces of a kind that is kept: the processor keeps what any of its policies keeps."""
    share = 0.0
    for policy in config["processors"]["tail_sampling"]["policies"]:
        kind: str = policy["type"]
        rule: dict[str, Any] = policy[kind]
        if kind == "status_code":
            hit = float(error and "ERROR" in rule["status_codes"])
        elif kind == "latency":
            hit = float(seconds * 1000 >= rule["threshold_ms"])
        else:
            assert kind == "probabilistic", kind
            hit = rule["sampling_percentage"] / 100
        share = max(share, hit)
    return share


def test_errors_and_slow_ones_are_all_kept(config: Json) -> None:
    assert kept(config, error=True, seconds=0.01) == 1
    assert kept(config, error=False, seconds=0.51) == 1
    assert 0 < kept(config, error=False, seconds=0.1) <= 0.1


def test_slow_means_what_the_objective_means(config: Json) -> None:
    (latency,) = [p["latency"] for p in config["processors"]["tail_sampling"]["policies"] if p["type"] == "latency"]
    said = next(alert["annotations"]["summary"] for alert in alerts() if alert["alert"] == "FerryLatencyBudgetBurn")
    assert f"longer than {latency['threshold_ms'] / 1000:g} s" in said
