"""Metrics that moved while a fault lasted, and the alerts that look at them."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parent.parent.parent / "deploy/k8s/components/monitoring/prometheus-rule.yaml"
CALLS = "rpc_server_call_duration_seconds_count"
WATCHED = {
    "ferry_degraded_total": ("model",),
    "ferry_suspect_requests_total": (),
    "ferry_rejected_total": ("reason",),
    "ferry_cache_requests_total": ("tier", "result"),
    "ferry_variant_errors_total": ("code",),
}
FAILURES = frozenset({"UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "DATA_LOSS", "RESOURCE_EXHAUSTED"})
"""What the availability of the service level objective counts."""
TIMEOUT = 2.0
MODELS = "ferry_model_info"


def scrape(endpoints: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Counters of each process that answers, by metric and the labels that matter."""
    with ThreadPoolExecutor(16) as pool:
        texts = pool.map(_read, endpoints.values())
        return {name: _counters(name, text) for name, text in zip(endpoints, texts, strict=True)}


def silent(endpoints: Mapping[str, str]) -> list[str]:
    """Processes that do not say what they have counted: gone, or they hang."""
    return [name for name, address in endpoints.items() if not _read(address)]


def versions(addresses: Iterable[str], model: str) -> list[set[str]]:
    """The versions of a model that each process serves. To be asked often: all but one metric is left unread."""
    return [of_model(_read(address), model) for address in addresses]


def of_model(text: str, model: str) -> set[str]:
    """The versions of a model that a process serves, by its metrics."""
    lines = [line for line in text.splitlines(keepends=True) if line.startswith(MODELS + "{")]
    samples = [sample for family in text_string_to_metric_families("".join(lines)) for sample in family.samples]
    return {sample.labels["version"] for sample in samples if sample.labels["model"] == model and sample.value}


def add(total: dict[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Both together."""
    return {name: total.get(name, 0.0) + more.get(name, 0.0) for name in {**total, **more}}


def rises(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> dict[str, float]:
    """How much each rose, over all processes; one that started again meanwhile counts from zero."""
    total: dict[str, float] = {}
    for process, counters in after.items():
        earlier = before.get(process, {})
        for name, value in counters.items():
            rise = value - earlier.get(name, 0.0)
            total[name] = total.get(name, 0.0) + (rise if rise >= 0 else value)
    return {name: value for name, value in total.items() if value}


def alerts(counters: Mapping[str, float]) -> list[str]:
    """Names of the alerts whose expressions look at a counter that rose, where that is not one of every day."""
    moved = {name.split("{")[0] for name in counters if not name.startswith("calls of") and 'hit"' not in name}
    moved -= {"ferry_cache_requests_total"} if not any('result="error"' in name for name in counters) else set()
    if any(name.startswith("calls of gateway") and name.rpartition(" ")[2] in FAILURES for name in counters):
        moved.add("grpc_status")
    rules = _rules()
    return sorted({name for name, text in rules if any(metric in text for metric in moved)})


def _rules() -> list[tuple[str, str]]:
    """Alerts with their expressions, recorded ones put in the place of their names."""
    document: dict[str, Any] = yaml.safe_load(RULES.read_text())
    rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    found = []
    for rule in rules:
        if "alert" in rule:
            text = rule["expr"]
            for _ in range(3):
                text = re.sub(r"[a-zA-Z_:][a-zA-Z0-9_:]*", lambda name: recorded.get(name[0], name[0]), text)
            found.append((rule["alert"], text))
    return found


def _read(address: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT) as answer:
            return str(answer.read().decode())
    except (OSError, HTTPException):
        return ""


def _counters(process: str, text: str) -> dict[str, float]:
    service = re.sub(r"-\d+$", "", process)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == CALLS and "ferry" in sample.labels.get("rpc_service", ""):
                if sample.labels["rpc_method"] in {"Recognize", "Detect", "Classify"}:
                    name = f"calls of {service} {sample.labels['grpc_status']}"
                    found[name] = found.get(name, 0.0) + sample.value
            elif sample.name in WATCHED:
                labels = ",".join(f'{label}="{sample.labels.get(label, "")}"' for label in WATCHED[sample.name])
                name = f"{sample.name}{{{labels}}}" if labels else sample.name
                found[name] = found.get(name, 0.0) + sample.value
    return found
