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
_CONTAINER = frozenset({"container", "id", "image", "name", "namespace", "pod"})
KUBELET = {
    "container_cpu_usage_seconds_total": _CONTAINER | {"cpu"},
    "container_cpu_cfs_throttled_periods_total": _CONTAINER,
    "container_cpu_cfs_periods_total": _CONTAINER,
    "container_memory_working_set_bytes": _CONTAINER,
}
"""Series of the kubelet 1.37.2 (/metrics/cadvisor), each with its labels. Those of throttling are there only for
containers with a CPU limit, which all of Ferry's have."""
_AUTOSCALER = frozenset({"namespace", "horizontalpodautoscaler"})
KUBE_STATE_METRICS = {
    "kube_deployment_status_replicas_available": frozenset({"namespace", "deployment"}),
    "kube_horizontalpodautoscaler_spec_max_replicas": _AUTOSCALER,
    "kube_horizontalpodautoscaler_status_current_replicas": _AUTOSCALER,
    "kube_pod_container_resource_limits": frozenset(
        {"namespace", "pod", "uid", "container", "node", "resource", "unit"}
    ),
    "kube_pod_container_status_restarts_total": frozenset({"namespace", "pod", "uid", "container"}),
}
"""Series of kube-state-metrics, written by hand with the labels of its documentation (docs/metrics/workload of
kubernetes/kube-state-metrics, where all are STABLE): no recorded answer of a version is kept here."""
KUBERNETES = KUBELET | KUBE_STATE_METRICS

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


def rule_groups() -> list[dict[str, Any]]:
    document = yaml.safe_load((K8S / "components/monitoring/prometheus-rule.yaml").read_text())
    groups: list[dict[str, Any]] = document["spec"]["groups"]
    return groups


def rules() -> list[dict[str, Any]]:
    """Recording rules and alerts."""
    return [rule for group in rule_groups() for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels(path: Path) -> list[dict[str, Any]]:
    """A dashboard's panels, rows left out."""
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def in_dashboards(window: str = "1m", namespace: str = ".*") -> list[str]:
    """Expressions with Grafana's variables replaced."""
    found = [t["expr"] for path in GRAFANA.glob("*.json") for panel in panels(path) for t in panel["targets"]]
    variables = {"$__rate_interval": window, "$__interval": window, "$__range": window, "$namespace": namespace}
    for variable, value in variables.items():
        found = [expression.replace(variable, value) for expression in found]
    unknown = [expression for expression in found if re.search(r"\$(?!\d)", expression)]
    assert not unknown, f"variables that the tests do not know: {unknown}"
    return found


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


def in_adapter(namespace: str = "ferry", pods: str = ".+") -> list[str]:
    """What prometheus-adapter asks for: the series it finds metrics by, and the metrics of pods."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/adapter-values.yaml").read_text())["rules"]["custom"]
    found = []
    for rule in rules:
        query = rule["metricsQuery"].replace("<<.Series>>", rule["name"]["matches"])
        query = query.replace("<<.LabelMatchers>>", f'namespace="{namespace}",pod=~"{pods}"')
        found += [rule["seriesQuery"], query.replace("<<.GroupBy>>", "pod")]
    return found


def without_thresholds(expression: str) -> list[str]:
    """What an alert compares, without the comparing: expressions that have a value when all is well, too.

    `a / b > 2 and c < 3` gives `a / b` and `c`; `x >= on (l) y` gives `x` and `y`; `absent(x)` gives `x`. Numbers are
    left out.
    """
    parts, position, masked = [], 0, _masked(expression)
    for match in [*re.finditer(r"\b(?:and|or|unless)\b|[<>=!]=|[<>]", masked), None]:
        end = len(masked) if match is None else match.start()
        parts.append(expression[position:end])
        position = end if match is None else match.end()
    bare = [
        re.sub(r"^\s*(?:bool|(?:on|ignoring)\s*\([^)]*\))(?:\s*group_(?:left|right)(?:\s*\([^)]*\))?)?", "", p)
        for p in parts
    ]
    inner = [re.sub(r"^absent\((.*)\)$", r"\1", part.strip(), flags=re.DOTALL) for part in bare]
    return [part for part in inner if not re.fullmatch(r"[\d.\s*+/-]+", part)]


def _masked(expression: str) -> str:
    """The expression with all that stands in brackets, braces and quotes blanked, at the same length."""
    depth, quoted, masked = 0, False, []
    for character in expression:
        quoted ^= character == '"'
        depth -= not quoted and character in ")}]"
        masked.append(" " if depth or quoted else character)
        depth += not quoted and character in "({["
    return "".join(masked)


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
