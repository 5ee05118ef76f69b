"""What breaks while callers call: processes, pods, nodes, one at a time and two at once where a replica is left."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.deploy.manifests import Json, name
from tests.kubernetes.scenarios.cluster import PATIENCE, Cluster, can_cut
from tests.kubernetes.scenarios.conftest import Run, Scenario
from tests.kubernetes.scenarios.hands import Hands, hands
from tests.processes import until

COMPONENTS = ("gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface")
needs_cut = pytest.mark.skipif(not can_cut(), reason="set FERRY_E2E_CUT and FERRY_E2E_MEND to commands for a node NODE")
LONG = "--timeout=60"
"""For callers who wait longer than a new replica needs on a busy machine."""
HUNG = 20.0
"""Seconds for which a process hangs; shorter than what its probes allow."""


@pytest.fixture(scope="module")
def hand(installed: Cluster) -> Iterator[Hands]:
    with hands(installed) as found:
        yield found


def restarted(cluster: Cluster, pod: Json) -> None:
    """Waits until a pod's container was started anew and is ready."""
    before = pod["status"]["containerStatuses"][0]["restartCount"]

    def again() -> bool:
        (status,) = cluster.kubectl.get("pod", name(pod))["status"]["containerStatuses"]
        return bool(status["restartCount"] > before and status["ready"])

    until(again, seconds=300, what=f"{name(pod)} started anew", pause=0.5)


def test_each_process_is_killed_in_turn(installed: Cluster, hand: Hands, scenario: Scenario) -> None:
    with scenario("kill -9 of a process of each kind, in turn") as run:
        run.restarts = True
        for component in COMPONENTS:
            pod = installed.pods(component)[0]
            run.event(f"kill -9 {component}")
            hand.kill(pod)
            restarted(installed, pod)


def test_each_pod_is_deleted_in_turn(installed: Cluster, scenario: Scenario) -> None:
    with scenario("a pod of each kind and Redis deleted by force, in turn") as run:
        for component in COMPONENTS:
            run.event(f"delete {component}")
            installed.kubectl("delete", "pod", name(installed.pods(component)[0]), "--now")
            installed.settled()
        run.event("delete redis")
        installed.kubectl("delete", "pod", "redis-0", "--now")
        installed.kubectl("rollout", "status", "statefulset/redis", PATIENCE)


def test_two_processes_are_killed_at_once(installed: Cluster, hand: Hands, scenario: Scenario) -> None:
    with scenario("a detector and an ensembler killed at once") as run:
        run.restarts = True
        pods = [installed.pods(component)[0] for component in ("detector", "ensembler")]
        run.event("kill -9 of two")
        for pod in pods:
            hand.kill(pod)
        for pod in pods:
            restarted(installed, pod)


@pytest.mark.parametrize("component", COMPONENTS[1:])
def test_a_process_hangs(component: str, installed: Cluster, hand: Hands, scenario: Scenario) -> None:
    with scenario(f"{component}: a process stops for {HUNG:.0f} s") as run:
        run.event("SIGSTOP")
        hand.stop(installed.pods(component)[0], HUNG)
        run.event("SIGCONT")


@pytest.mark.parametrize("component", COMPONENTS[1:3])
def test_an_event_loop_hangs(component: str, installed: Cluster, hand: Hands, scenario: Scenario) -> None:
    """Its connections live and its pings are answered, so only what is not answered tells that it hangs."""
    with scenario(f"{component}: an event loop stops for {HUNG:.0f} s, its connections live") as run:
        run.event("loop stopped")
        hand.freeze(installed.pods(component)[0], HUNG)
        run.event("goes on")


def test_the_only_detector_is_killed(installed: Cluster, hand: Hands, scenario: Scenario) -> None:
    """Calls that have more time than a new process needs are answered, all of them."""
    with scenario("the only detector killed", LONG) as run:
        run.restarts = True
        installed.kubectl("scale", "deployment/detector", "--replicas=1")
        installed.settled()
        (pod,) = installed.pods("detector")
        killed = time.time()
        run.event("kill -9")
        hand.kill(pod)
        restarted(installed, pod)
        back = time.time()
        run.event("serves again")
        without_a_replica(run, killed, back, float(LONG.partition("=")[2]))


def without_a_replica(run: Run, gone: float, back: float, deadline: float) -> None:
    """Allows the failures of calls that had no replica for as long as they had time."""
    hopeless = [call for call in run.outcome.failures if gone <= call.began and call.began + deadline <= back]
    run.allowed = len(hopeless)
    run.fact(f"no detector for {back - gone:.0f} s; calls had {deadline:.0f} s")


@needs_cut
def test_a_node_loses_its_network(installed: Cluster, scenario: Scenario) -> None:
    with scenario("the network of a node cut") as run:
        cut_and_mended(installed, run)


@needs_cut
def test_a_node_loses_its_network_while_it_is_drained(installed: Cluster, scenario: Scenario) -> None:
    with scenario("the network of a node cut while it is drained") as run:
        installed.kubectl("cordon", installed.victim)
        run.event("drain")
        flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=10s")
        installed.kubectl.succeeds("drain", installed.victim, *flags)
        cut_and_mended(installed, run)
        installed.kubectl("uncordon", installed.victim)


def cut_and_mended(cluster: Cluster, run: Run) -> None:
    run.event("cut")
    cluster.cut(cluster.victim)
    try:
        until(lambda: not ready(cluster), seconds=180, what="a node that is not ready", pause=0.5)
        run.event("not ready")
    finally:
        cluster.cut(cluster.victim, mended=True)
        run.event("mended")
    until(lambda: ready(cluster), seconds=180, what="a node that is ready again", pause=0.5)
    cluster.settled()


def ready(cluster: Cluster) -> bool:
    """Whether the cluster calls the victim ready."""
    conditions = cluster.kubectl.get("node", cluster.victim)["status"]["conditions"]
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
