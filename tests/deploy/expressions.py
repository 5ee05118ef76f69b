"""All PromQL of the repository: rules, dashboards, autoscaling; and the names of metrics in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from serving.telemetry import metrics
from tests.deploy.manifests import K8S, ROOT, Json

GRAFANA = ROOT / "deploy" / "grafana"
KUBERNETES = {
    "container_cpu_usage_seconds_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_periods_total",
    "container_memory_working_set_bytes",
    "kube_deployment_status_replicas_available",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_pod_container_resource_limits",
    "kube_pod_container_status_restarts_total",
    "ALERTS",
}
"""Metrics of the kubelet, of kube-state-metrics and of Prometheus itself."""

_WORDS = {
    *("sum", "avg", "max", "min", "count", "rate", "increase", "absent", "histogram_quantile", "avg_over_time"),
    *(
        "label_replace",
        "label_values",
        "vector",
        "by",
        "without",
        "on",
        "group_left",
        "ignoring",
        "or",
        "and",
        "unless",
    ),
}


def rules() -> list[dict[str, Any]]:
    """Recording rules and alerts."""
    document = yaml.safe_load((K8S / "components/monitoring/prometheus-rule.yaml").read_text())
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels(path: Path) -> list[dict[str, Any]]:
    """A dashboard's panels, rows left out."""
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def in_dashboards() -> list[str]:
    """Expressions with Grafana's variables replaced."""
    found = [t["expr"] for path in GRAFANA.glob("*.json") for panel in panels(path) for t in panel["targets"]]
    return [e.replace("$__rate_interval", "1m").replace("$namespace", ".*") for e in found]


def in_keda() -> list[str]:
    documents = yaml.safe_load_all((K8S / "components/keda/scaled-objects.yaml").read_text())
    triggers = [trigger for document in documents for trigger in document["spec"]["triggers"]]
    return [trigger["metadata"]["query"] for trigger in triggers if trigger["type"] == "prometheus"]


def analyses() -> list[Json]:
    """Metrics of the AnalysisTemplates of Argo Rollouts, with their arguments replaced."""
    text = (K8S / "components/argo-rollouts/analysis.yaml").read_text()
    documents = yaml.safe_load_all(re.sub(r"\{\{args\.\w+\}\}", "word", text))
    return [metric for document in documents for metric in document["spec"]["metrics"]]


def in_analyses() -> list[str]:
    return [metric["provider"]["prometheus"]["query"] for metric in analyses()]


def declared() -> dict[str, frozenset[str]]:
    """Series that the services export, each with its labels."""
    found: dict[str, frozenset[str]] = {}
    for metric in vars(metrics).values():
        if not hasattr(metric, "_labelnames"):
            continue
        names = frozenset(metric._labelnames)
        (described,) = metric.describe()
        if described.type == "histogram":
            found |= {f"{described.name}_{end}": names for end in ("sum", "count")}
            found[f"{described.name}_bucket"] = names | {"le"}
        else:
            found[described.name + ("_total" if described.type == "counter" else "")] = names
    return found


def selectors(expression: str) -> list[tuple[str, frozenset[str]]]:
    """Every series of an expression with the labels that it is selected by."""
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left)\s*\([^)]*\)", " ", expression)
    found = []
    for match in re.finditer(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\()", re.sub(r"\[[^]]*\]", "", bare)):
        if match[2] is None and _inside_quotes_or_braces(bare, match[1]):
            continue
        if match[1] not in _WORDS:
            found.append((match[1], frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match[2] or ""))))
    return found


def _inside_quotes_or_braces(expression: str, word: str) -> bool:
    outside = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^]]*\]", " ", expression)
    return re.search(rf"(?<![\w:]){re.escape(word)}(?![\w:])", outside) is None
