"""NetworkPolicies allow exactly the edges of docs/architecture.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.deploy.manifests import Json, containers, labels, name, of_kind, render, selects, workloads

DNS = ("dns", 53)
FERRY = ("gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface")


@dataclass(frozen=True)
class Place:
    """Somebody who talks or is talked to.

    Attributes:
        inside: in Ferry's namespace, where its policies hold.
        address: not a pod but an address in the internet.
    """

    name: str
    labels: dict[str, str]
    namespace: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    inside: bool = False
    address: bool = False


OUTSIDE = (
    Place("caller", {}, {"ferry/caller": "true"}),
    Place("monitoring", {}, {"ferry/monitoring": "true"}),
    Place("stranger", {}, {}),
    Place("dns", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}),
    Place("internet", {}, address=True),
)
PORTS = (53, 443, 4317, 6379, 9090, 50051, 50052, 50053, 50054, 50060)


def _peer(peer: Json, place: Place) -> bool:
    if "ipBlock" in peer:
        return place.address and peer["ipBlock"]["cidr"] in {"0.0.0.0/0", "::/0"}
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
            ports={p["name"]: p["containerPort"] for c in containers(workload) for p in c.get("ports", [])},
            inside=True,
        )
        for workload in workloads(objects)
    ]
    return {
        (source.name, target.name, port)
        for source in (*pods, *OUTSIDE)
        for target in (*pods, *OUTSIDE)
        for port in PORTS
        if (source.inside or target.inside)
        and source != target
        and _way(policies, "egress", source, target, target, port)
        and _way(policies, "ingress", target, source, target, port)
    }


ARCHITECTURE = {
    ("caller", "gateway", 50051),
    ("gateway", "ensembler", 50052),
    ("ensembler", "detector", 50053),
    ("ensembler", "classifier-efficientnet", 50054),
    ("ensembler", "classifier-arcface", 50054),
    *(("monitoring", service, 9090) for service in FERRY),
    *((service, *DNS) for service in FERRY),
}


def test_production_adds_only_the_way_to_redis() -> None:
    assert edges("cpu") == ARCHITECTURE | {("gateway", "internet", 6379)}


def test_the_local_redis_is_the_gateway_s_alone() -> None:
    assert edges("local") == ARCHITECTURE | {("gateway", "redis", 6379), ("redis", *DNS)}


def test_tracing_adds_the_way_to_the_collector_and_on() -> None:
    added = {(service, "otel-collector", 4317) for service in FERRY}
    added |= {("otel-collector", "monitoring", 4317), ("otel-collector", *DNS)}
    assert edges("cpu", ("otel",)) == edges("cpu") | added


def test_fetching_models_adds_the_models_way_to_their_storage() -> None:
    added = {(service, "internet", 443) for service in FERRY[2:]}
    assert edges("cpu", ("models-fetch",)) == edges("cpu") | added


def test_other_components_add_nothing() -> None:
    others = ("monitoring", "keda", "models-volume", "mtls", "api-keys", "argo-rollouts")
    assert edges("cpu", others) == edges("cpu")
    assert edges("cpu", ("gateway-api", "gateway-api-split")) == edges("cpu")


def test_gpus_change_no_edge() -> None:
    assert edges("gpu") == edges("gpu", ("gpu-dra",)) == edges("cpu")


def test_everything_else_is_denied_both_ways() -> None:
    (policy,) = (p for p in of_kind(render("cpu"), "NetworkPolicy") if name(p) == "deny-all")
    assert policy["spec"]["podSelector"] == {}
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & policy["spec"].keys()
