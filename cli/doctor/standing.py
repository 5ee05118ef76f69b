"""Whether it will stand: autoscalers, drains, policies, who may call, certificates, Redis, clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cli.doctor.finding import Finding, advice, good, wrong
from cli.doctor.seen import Seen, matches, name

MAX_SKEW = 2.0
"""Seconds between two nodes' clocks; expiry in Redis and certificates bear more, logs and traces do not."""
_LEAST_CERTIFICATE = 0.2
"""Share of a certificate's time that is left; cert-manager renews when 2 of 7 days are."""


def autoscalers(seen: Seen) -> Iterator[Finding]:
    """Each knows its metrics and can act on them."""
    if not seen.autoscalers:
        yield good("autoscaling", "none, as in a trial")
    for item in seen.autoscalers:
        conditions = {c["type"]: c for c in item.get("status", {}).get("conditions", [])}
        bad = [
            conditions[k] for k in ("ScalingActive", "AbleToScale") if conditions.get(k, {}).get("status") == "False"
        ]
        unknown = len(item.get("status", {}).get("currentMetrics") or []) < len(item["spec"].get("metrics", []))
        status = item.get("status", {})
        said = f"{name(item)}: {status.get('currentReplicas', 0)} pods of {item['spec'].get('minReplicas', 1)} to "
        said += str(item["spec"]["maxReplicas"])
        if bad or unknown:
            why = bad[0].get("message", bad[0].get("reason", "")) if bad else "one of its metrics is unknown"
            yield wrong(
                "autoscaling",
                f"{said}; {why}",
                "is there metrics-server, and prometheus-adapter with deploy/prometheus/adapter-values.yaml (or KEDA)? "
                f"kubectl --namespace {seen.namespace} describe hpa {name(item)}",
            )
        elif status.get("currentReplicas", 0) >= item["spec"]["maxReplicas"]:
            yield advice(
                "autoscaling", f"{said}: as many as it may", "raise maxReplicas (ferry capacity says how many)"
            )
        else:
            yield good("autoscaling", f"{said}; all metrics known")


def drains(seen: Seen) -> Iterator[Finding]:
    """A node may be drained: each service has a budget, and it allows a pod to go."""
    for item in seen.own:
        labels = item["spec"]["template"]["metadata"]["labels"]
        own = [budget for budget in seen.budgets if matches(budget["spec"].get("selector", {}), labels)]
        wanted = item["spec"].get("replicas", 1)
        if not own:
            yield wrong(
                "drain", f"{name(item)} has no PodDisruptionBudget", "apply deploy/k8s/base, which has one for each"
            )
        elif wanted < 2:
            yield advice("drain", f"{name(item)} has one replica: a drain interrupts it", "two or more replicas")
        elif any(budget.get("status", {}).get("disruptionsAllowed", 0) < 1 for budget in own):
            yield wrong(
                "drain",
                f"{name(item)}: its budget lets no pod go at present",
                f"are all its pods ready? kubectl --namespace {seen.namespace} get pdb,pods",
            )
        else:
            yield good("drain", f"{name(item)}: {own[0]['status']['disruptionsAllowed']} of {wanted} may go at a time")


def policies(seen: Seen) -> Iterator[Finding]:
    """Everything is denied but what is allowed; pods must meet the restricted standard; somebody may call."""
    closed = [
        policy
        for policy in seen.policies
        if not policy["spec"].get("podSelector") and set(policy["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
    ]
    if any(not policy["spec"].get("ingress") and not policy["spec"].get("egress") for policy in closed):
        yield good(
            "policies", f"{len(seen.policies)}, all else is denied (whether they are enforced, your network knows)"
        )
    else:
        yield wrong("policies", "pods may talk to anybody", "apply deploy/k8s/base/network-policies.yaml")
    standard = seen.labels.get("pod-security.kubernetes.io/enforce", "")
    if standard == "restricted":
        yield good("pod security", "restricted, enforced")
    else:
        yield advice(
            "pod security",
            f"the namespace enforces {standard or 'nothing'}",
            f"kubectl label namespace {seen.namespace} pod-security.kubernetes.io/enforce=restricted",
        )
    if seen.callers is None:
        yield advice("callers", "namespaces may not be listed", "ask your administrator which have ferry/caller=true")
    elif seen.callers:
        yield good("callers", f"from {', '.join(seen.callers)}")
    else:
        yield advice("callers", "no namespace may call", "kubectl label namespace NAME ferry/caller=true")


def certificates(seen: Seen, now: float | None = None) -> Iterator[Finding]:
    """What each pod serves holds, and is not about to end."""
    at = time.time() if now is None else now
    ends = {}
    for pod, inside in seen.inside.items():
        if inside.certificate_error:
            yield wrong(
                "certificates",
                f"{pod}: {inside.certificate_error}",
                f"kubectl --namespace {seen.namespace} get certificates,secrets; docs/security.md",
            )
        elif inside.certificate is not None:
            begin, end = inside.certificate
            left = end - at
            if left < _LEAST_CERTIFICATE * (end - begin):
                yield wrong(
                    "certificates",
                    f"{pod}: {left / 3600:.0f} h of {(end - begin) / 3600:.0f} h are left",
                    "it is not renewed: is cert-manager well? docs/runbooks",
                )
            else:
                ends[pod] = left
    if ends:
        yield good("certificates", f"{len(ends)} pods, the first to end in {min(ends.values()) / 86400:.1f} days")
    elif not any(inside.certificate_error or inside.certificate for inside in seen.inside.values()):
        yield good("certificates", "none: calls are not encrypted (component mtls)")


def redis(seen: Seen) -> Iterator[Finding]:
    """Each gateway reaches it."""
    told = {pod: inside.redis for pod, inside in seen.inside.items() if inside.redis is not None}
    lost = {pod: why for pod, why in told.items() if why}
    if lost:
        yield wrong(
            "redis",
            f"{len(lost)} of {len(told)} gateways do not reach it ({', '.join(sorted(set(lost.values())))})",
            "answers go on uncached; is it there, is its password right, does policy gateway-redis name its port?",
        )
    elif told:
        yield good("redis", f"answers {len(told)} gateways")
    else:
        yield good("redis", "none: each gateway caches alone")


def clocks(seen: Seen) -> Iterator[Finding]:
    """Pods agree about the time, as far as asking them can tell."""
    asked = {pod: inside for pod, inside in seen.inside.items() if inside.series or not inside.error}
    if not asked:
        return
    late = min(inside.skew + inside.unsure for inside in asked.values())
    early = max(inside.skew - inside.unsure for inside in asked.values())
    apart = early - late
    if apart > MAX_SKEW:
        nodes = {pod["spec"].get("nodeName", "") for pod in seen.pods if name(pod) in asked}
        yield wrong("clocks", f"nodes are at least {apart:.1f} s apart", f"mend NTP on {', '.join(sorted(nodes))}")
    else:
        worst = max(abs(inside.skew) for inside in asked.values())
        yield good("clocks", f"{len(asked)} pods agree (within {max(worst, 0.1):.1f} s of this machine)")
