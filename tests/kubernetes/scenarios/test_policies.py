"""Who reaches whom on a cluster that enforces network policies: what the manifests allow, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deploy.manifests import Json, containers, labels, name, workloads
from tests.deploy.test_network import edges
from tests.kubernetes.kubectl import NAMESPACE
from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import namespace, pod
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import judged
from tests.processes import until

pytestmark = pytest.mark.core
OUTSIDE = {
    "caller": ("ferry-callers", {"ferry/caller": "true"}),
    "monitoring": ("ferry-monitoring", {"ferry/monitoring": "true"}),
    "stranger": ("ferry-strangers", {}),
}
"""Pods outside Ferry's namespace, as tests/deploy names them: their namespaces with what these are labelled."""
STRAY_PORTS = (50051, 9090)
_LISTEN = (
    "import socket, threading\n"
    f"sockets = [socket.create_server(('', port)) for port in {STRAY_PORTS}]\n"
    "serve = lambda listening: [listening.accept()[0].close() for _ in iter(int, 1)]\n"
    "[threading.Thread(target=serve, args=(listening,)).start() for listening in sockets]\n"
)
# Bash opens TCP connections by itself, so that every image that stands on Debian can be asked.
_PROBE = (
    'for t in {targets}; do (timeout 3 bash -c "exec 3<>/dev/tcp/${{t%:*}}/${{t#*:}}" 2>/dev/null && echo $t) & done; '
    "wait"
)
Edge = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A pod that asks and is asked.

    Attributes:
        ports: at which somebody listens.
    """

    name: str
    namespace: str
    pod: str
    address: str
    ports: tuple[int, ...]


@pytest.fixture
def places(installed: Cluster, objects: tuple[Json, ...]) -> Iterator[list[Place]]:
    """A pod of each of Ferry's services, one beside them, and those outside."""
    strays = {"stray": NAMESPACE, **{who: where for who, (where, _) in OUTSIDE.items()}}
    new = [namespace(where, **said) for where, said in OUTSIDE.values() if where != callers.NAMESPACE]
    installed.kubectl.apply(new)
    for who, where in strays.items():
        listening = pod(who, ["python", "-c", _LISTEN], node=installed.steady)
        installed.in_namespace(where).apply([listening])
    found = []
    for who, where in strays.items():
        kubectl = installed.in_namespace(where)
        kubectl("wait", "--for=condition=Ready", f"pod/{who}", "--timeout=120s")
        found.append(_place(who, kubectl.get("pod", who), STRAY_PORTS))
    for workload in workloads(objects):
        label = ",".join(f"{key}={value}" for key, value in labels(workload).items())
        ports = tuple(port["containerPort"] for c in containers(workload) for port in c["ports"])
        item = installed.kubectl.get("pods", "--selector", label, "--field-selector=status.phase=Running")["items"][0]
        found.append(_place(name(workload), item, ports))
    yield found
    for who, where in strays.items():
        installed.in_namespace(where)("delete", "pod", who, "--now", "--wait=false")
    for who, where in strays.items():  # the next scenario may want a pod of the same name
        installed.in_namespace(where)("delete", "pod", who, "--ignore-not-found", "--timeout=60s")


def _place(who: str, item: Json, ports: tuple[int, ...]) -> Place:
    return Place(who, item["metadata"]["namespace"], name(item), item["status"]["podIP"], ports)


def seen(cluster: Cluster, places: list[Place]) -> set[Edge]:
    """Every pair of pods, both ways, with the ports at which a connection was made."""
    targets = {f"{place.address}:{port}": (place, port) for place in places for port in place.ports}
    found: set[Edge] = set()
    for source in places:
        script = _PROBE.format(targets=" ".join(t for t, (place, _) in targets.items() if place != source))
        said = cluster.in_namespace(source.namespace)("exec", source.pod, "--", "bash", "-c", script)
        found |= {(source.name, targets[line][0].name, targets[line][1]) for line in said.split()}
    return found


def test_every_pair_of_pods(installed: Cluster, places: list[Place], request: pytest.FixtureRequest) -> None:
    inside = {place.name for place in places if place.namespace == NAMESPACE}
    tried = {place.name for place in places}
    allowed = {edge for edge in edges("local") if {edge[0], edge[1]} <= tried}
    with judged(request.config, "network policies, every pair of pods") as run:
        wrong: set[Edge] = set()

        def as_the_manifests_say() -> bool:
            """Policies reach a new pod after a moment, and a busy node may miss a connection: so it is looked again."""
            wrong.clear()
            wrong.update(e for e in seen(installed, places) ^ allowed if e[0] in inside or e[1] in inside)
            return not wrong

        try:
            until(as_the_manifests_say, seconds=90, what="an enforcement of policies", pause=1)
        except TimeoutError:
            more, less = sorted(wrong - allowed), sorted(wrong & allowed)
            pytest.fail(f"open and should not be: {more}; closed and should be open: {less}", pytrace=False)
        pairs = sum(1 for a, b in itertools.permutations(places, 2) if {a.name, b.name} & inside)
        run.fact(f"{pairs} pairs, {len(allowed)} ports open, as the manifests say")


def test_a_pod_below_the_restricted_standard_is_refused(installed: Cluster) -> None:
    bare = pod("bare", ["true"])
    del bare["spec"]["securityContext"]
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        installed.kubectl.apply([bare])
