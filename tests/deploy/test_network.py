"""NetworkPolicies allow exactly the edges of docs/architecture.md."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.deploy.composition import inside
from tests.deploy.manifests import (
    COMBINATIONS,
    Json,
    containers,
    ferry,
    labels,
    name,
    of_kind,
    render,
    selects,
    walk,
    workloads,
)

ALL = pytest.mark.parametrize(("overlay", "components"), COMBINATIONS)
DNS = (("dns", 53), ("169.254.20.10/32", 53))


@dataclass(frozen=True)
class Place:
    """Somebody who talks or is talked to.

    Attributes:
        inside: in Ferry's namespace, where its policies hold.
        address: not a pod but an address; the block of addresses that a policy names.
    """

    name: str
    labels: dict[str, str]
    namespace: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    inside: bool = False
    address: str = ""


OUTSIDE = (
    Place("caller", {}, {"ferry/caller": "true"}),
    Place("monitoring", {}, {"ferry/monitoring": "true"}),
    Place("stranger", {}, {}),
    Place("dns", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}),
    Place("internet", {}, address="0.0.0.0/0"),
)
STRAY = Place("stray", {}, ports={"grpc": 50051, "metrics": 9090}, inside=True)
"""A pod in Ferry's namespace that is not Ferry's."""


def _peer(peer: Json, place: Place) -> bool:
    if "ipBlock" in peer:
        assert peer.keys() == {"ipBlock"}
        return peer["ipBlock"]["cidr"].replace("::/0", "0.0.0.0/0") == place.address
    if place.address:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], place.namespace):
            return False
    elif not place.inside:
        return False
    return selects(peer.get("podSelector", {}), place.labels)


def _way(policies: list[Json], direction: str, subject: Place, other: Place, target: Place, port: int) -> bool:
    """Whether the policies over `subject` let it talk with `other` at the target's port."""
    if not subject.inside:
        return True
    end = "to" if direction == "egress" else "from"
    for policy in policies:
        spec = policy["spec"]
        if not selects(spec["podSelector"], subject.labels) or direction.title() not in spec["policyTypes"]:
            continue
        for rule in spec.get(direction, []):
            # A rule without one of the two would mean everybody, or every port.
            assert rule[end]
            assert rule["ports"]
            numbers = {target.ports.get(p["port"]) if isinstance(p["port"], str) else p["port"] for p in rule["ports"]}
            if port in numbers and any(_peer(peer, other) for peer in rule[end]):
                return True
    return False


def edges(overlay: str, components: tuple[str, ...] = ()) -> set[tuple[str, str, int]]:
    """(from, to, port) of all that is allowed, of what touches Ferry's namespace."""
    objects = render(overlay, components)
    policies = of_kind(objects, "NetworkPolicy")
    pods = [
        Place(
            name(workload),
            labels(workload),
            ports={p["name"]: p["containerPort"] for c in containers(workload) for p in c.get("ports", ())},
            inside=True,
        )
        for workload in workloads(objects)
    ]
    blocks = {value["cidr"] for key, value in walk(policies) if key == "ipBlock"} - {"0.0.0.0/0", "::/0"}
    places = (*pods, STRAY, *OUTSIDE, *(Place(block, {}, address=block) for block in blocks))
    return {
        (source.name, target.name, port)
        for source in places
        for target in places
        for port in _ports(policies) | {port for place in pods for port in place.ports.values()}
        if (source.inside or target.inside)
        and source != target
        and _way(policies, "egress", source, target, target, port)
        and _way(policies, "ingress", target, source, target, port)
    }


def _ports(policies: list[Json]) -> set[int]:
    """Every number that a policy names."""
    rules = [rule for policy in policies for end in ("ingress", "egress") for rule in policy["spec"].get(end, [])]
    return {port["port"] for rule in rules for port in rule["ports"] if isinstance(port["port"], int)}


ARCHITECTURE = {
    ("caller", "gateway", 50051),
    ("gateway", "ensembler", 50052),
    ("ensembler", "detector", 50053),
    ("ensembler", "classifier-efficientnet", 50054),
    ("ensembler", "classifier-arcface", 50054),
}
ADDED = {
    "redis": {("gateway", "redis", 6379)},
    "redis-external": {("gateway", "internet", 6379)},
    "otel": {("otel-collector", "monitoring", 4317)},
    "models-fetch": {
        (model, "internet", 443) for model in ("detector", "classifier-efficientnet", "classifier-arcface")
    },
    "canary": {
        ("gateway", "ensembler-canary", 50052),
        ("ensembler-canary", "detector-canary", 50053),
        ("ensembler-canary", "classifier-efficientnet-canary", 50054),
        ("ensembler-canary", "classifier-arcface-canary", 50054),
    },
}
"""What a component may open, of edges between certain pods; a component that is not named opens nothing."""


def expected(overlay: str, components: tuple[str, ...]) -> set[tuple[str, str, int]]:
    objects = render(overlay, components)
    present = {*inside(overlay), *components}
    ours = [name(w) for w in ferry(objects)]
    wanted = ARCHITECTURE.union(*(ADDED.get(component, set()) for component in present))
    wanted |= {("monitoring", service, 9090) for service in ours}
    if "otel" in present:
        wanted |= {(service, "otel-collector", 4317) for service in ours}
    return wanted | {(who, *server) for who in (*map(name, workloads(objects)), STRAY.name) for server in DNS}


@ALL
def test_exactly_the_edges_of_the_architecture_are_open(overlay: str, components: tuple[str, ...]) -> None:
    assert edges(overlay, components) == expected(overlay, components)


@ALL
def test_rules_name_single_ports_and_only_dns_is_udp(overlay: str, components: tuple[str, ...]) -> None:
    for policy in of_kind(render(overlay, components), "NetworkPolicy"):
        for key, ports in walk(policy["spec"]):
            if key == "ports":
                for port in ports:
                    assert port.keys() == {"protocol", "port"}
                    assert port["protocol"] == "TCP" or (name(policy), port["port"]) == ("dns", 53)


@ALL
def test_everything_else_is_denied_both_ways(overlay: str, components: tuple[str, ...]) -> None:
    (policy,) = (p for p in of_kind(render(overlay, components), "NetworkPolicy") if name(p) == "deny-all")
    assert policy["spec"]["podSelector"] == {}
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & policy["spec"].keys()
