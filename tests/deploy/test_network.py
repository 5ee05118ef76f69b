"""NetworkPolicies allow exactly the edges of docs/architecture.md."""

from __future__ import annotations

import itertools
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


def _allowed(policies: list[Json], direction: str, subject: Place, other: Place, target: Place) -> set[int] | None:
    """The target's ports at which the policies over `subject` let it talk with `other`; None: they say nothing."""
    if not subject.inside:
        return None
    end = "to" if direction == "egress" else "from"
    numbers: set[int] = set()
    for policy in policies:
        spec = policy["spec"]
        if direction.title() not in spec["policyTypes"] or not selects(spec["podSelector"], subject.labels):
            continue
        for rule in spec.get(direction, []):
            # A rule without one of the two would mean everybody, or every port.
            assert rule[end]
            assert rule["ports"]
            if any(_peer(peer, other) for peer in rule[end]):
                ports = [port["port"] for port in rule["ports"]]
                numbers |= {target.ports.get(port, 0) if isinstance(port, str) else port for port in ports}
    return numbers - {0}


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
    found: set[tuple[str, str, int]] = set()
    for source, target in itertools.permutations(places, 2):
        out = _allowed(policies, "egress", source, target, target)
        into = _allowed(policies, "ingress", target, source, target)
        sides = [side for side in (out, into) if side is not None]
        found |= {(source.name, target.name, port) for port in (set.intersection(*sides) if sides else ())}
    return found


ARCHITECTURE = {
    ("caller", "gateway", 50051),
    ("caller", "gateway", 8080),
    ("gateway", "ensembler", 50052),
    ("ensembler", "detector", 50053),
    ("ensembler", "classifier-efficientnet", 50054),
    ("ensembler", "classifier-arcface", 50054),
    ("gateway", "ensembler", 9090),
    ("gateway", "detector", 9090),
    ("gateway", "classifier-efficientnet", 9090),
    ("gateway", "classifier-arcface", 9090),
}
ADDED = {
    "redis": {("gateway", "redis", 6379)},
    "redis-external": {("gateway", "internet", 6379)},
    "jobs": {("gateway", "internet", 6379)},
    "otel": {("otel-collector", "monitoring", 4317)},
    "models-fetch": {
        (model, "internet", 443) for model in ("detector", "classifier-efficientnet", "classifier-arcface")
    },
    "judge": {
        ("judge", "gateway", 9090),
        ("judge", "internet", 443),
        ("judge", "internet", 6443),
        ("judge", "internet", 6379),
        ("monitoring", "judge", 9090),
        ("gateway", "judge", 9090),
    },
    "judge-redis": {("judge", "redis", 6379)},
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
