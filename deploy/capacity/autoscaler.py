"""A HorizontalPodAutoscaler (autoscaling/v2) as plain data: what Ferry's manifests use of it, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deploy.capacity.quantity import quantity


class Select(StrEnum):
    """Which of several policies counts."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """How much one direction may change within `period_seconds`: `value` pods, or per cent where `percent`."""

    percent: bool
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one direction.

    Attributes:
        window_seconds: of the recommendations that are looked back at.
        select: among the policies.
        policies: one or more.
        tolerance: share by which a metric may miss its target without anything happening.
    """

    window_seconds: int
    select: Select
    policies: tuple[Policy, ...]
    tolerance: float = 0.1


UP = Rules(0, Select.MAX, (Policy(True, 100, 15), Policy(False, 4, 15)))
"""Kubernetes' defaults."""
DOWN = Rules(300, Select.MAX, (Policy(True, 100, 15),))


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """One HPA.

    Attributes:
        target: name of the Deployment.
        min_replicas: and
        max_replicas: its bounds.
        in_flight: wanted requests per pod, queued and executing; None: not looked at.
        cpu: wanted CPU of a pod, as a share of its request (0.85 is 85 %); None: not looked at.
        up: rules for more pods.
        down: rules for fewer.
    """

    target: str
    min_replicas: int
    max_replicas: int
    in_flight: float | None
    cpu: float | None
    up: Rules = UP
    down: Rules = DOWN


def parse(item: Mapping[str, Any]) -> Autoscaler:
    """From a manifest.

    Raises:
        ValueError: it uses what is not known here; the message says what.
    """
    spec = item["spec"]
    in_flight = cpu = None
    for metric in spec["metrics"]:
        if metric["type"] == "Pods" and metric["pods"]["metric"]["name"] == "ferry_inference_in_flight":
            in_flight = quantity(metric["pods"]["target"]["averageValue"])
        elif metric["type"] == "ContainerResource" and metric["containerResource"]["name"] == "cpu":
            cpu = metric["containerResource"]["target"]["averageUtilization"] / 100
        else:
            raise ValueError(f"{item['metadata']['name']}: metric {metric} is not known")
    behavior = spec.get("behavior", {})
    return Autoscaler(
        target=spec["scaleTargetRef"]["name"],
        min_replicas=spec.get("minReplicas", 1),
        max_replicas=spec["maxReplicas"],
        in_flight=in_flight,
        cpu=cpu,
        up=_rules(behavior.get("scaleUp", {}), UP),
        down=_rules(behavior.get("scaleDown", {}), DOWN),
    )


def _rules(given: Mapping[str, Any], default: Rules) -> Rules:
    policies = tuple(
        Policy({"Percent": True, "Pods": False}[policy["type"]], policy["value"], policy["periodSeconds"])
        for policy in given.get("policies", ())
    )
    return Rules(
        given.get("stabilizationWindowSeconds", default.window_seconds),
        Select(given.get("selectPolicy", default.select)),
        policies or default.policies,
        quantity(given["tolerance"]) if "tolerance" in given else default.tolerance,
    )
