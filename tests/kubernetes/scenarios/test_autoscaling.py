"""The base's autoscaler follows what waits for a model, as a real Prometheus measures it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deploy.capacity.autoscaler import parse
from deploy.capacity.quantity import quantity
from tests.deploy.manifests import Json
from tests.kubernetes.metrics_api import METRIC
from tests.kubernetes.scenarios.callers import NAMESPACE, calling
from tests.kubernetes.scenarios.cluster import Cluster, autoscaler, has_image
from tests.kubernetes.scenarios.conftest import OUT, Run, Scenario
from tests.kubernetes.scenarios.prometheus import IMAGE, telling
from tests.kubernetes.scenarios.replay import apart, draw, replayed, watching
from tests.processes import until

SCALED = "detector"
MOST = 4
CROWD = ("--callers=14", "--pause=0", "--timeout=60")
WAVES = ((14, 120.0), (9, 120.0))
"""Callers of a wave, and seconds for which they stay."""


@pytest.fixture
def measured(installed: Cluster) -> Iterator[None]:
    if not has_image(installed, IMAGE):
        pytest.skip(f"no node has {IMAGE} (scenarios/prometheus.Dockerfile; FERRY_E2E_PROMETHEUS names another)")
    with telling(installed):
        yield


def scaled(window: int = 0, period: int = 5) -> Json:
    """The base's with a bound that suits the test, and on the way down with less than its minutes of patience.

    Args:
        window: seconds for which more pods must not have been needed.
        period: seconds between two steps down.
    """
    scaler = autoscaler(SCALED)
    assert METRIC in [metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if "pods" in metric]
    scaler["spec"]["maxReplicas"] = MOST
    down = scaler["spec"]["behavior"]["scaleDown"]
    down["stabilizationWindowSeconds"] = window
    for policy in down["policies"]:
        policy["periodSeconds"] = period
    # As much of the CPU limit as the base asks for, of the smaller request below.
    (cpu,) = (metric["containerResource"] for metric in scaler["spec"]["metrics"] if "containerResource" in metric)
    cpu["target"]["averageUtilization"] *= 2
    return scaler


@contextmanager
def autoscaled(cluster: Cluster, run: Run, scaler: Json, picture: str) -> Iterator[Callable[[], int]]:
    """The detector's replicas, which an autoscaler sets; at the end the simulator's must have gone with it."""
    kubectl = cluster.kubectl
    # With the request of overlay `local` its CPU metric would say nothing but `more`.
    kubectl("set", "resources", f"deployment/{SCALED}", "--requests=cpu=500m")
    cluster.settled()
    kubectl.apply([scaler])
    try:
        with watching(kubectl, SCALED) as saw:
            yield lambda: int(kubectl.get("deployment", SCALED)["spec"]["replicas"])
        constants = parse(scaler)
        wanted = replayed(saw, constants)
        now, soon = (apart(saw, wanted, seconds) for seconds in (0, 30))
        run.fact(f"the simulator's autoscaler differs by {now} pods at most, by {soon} where it has 30 s")
        draw(saw, wanted, constants, OUT / f"{picture}.png")
        assert soon <= 1, f"the simulator's autoscaler is {soon} pods away from the real one"
    except Exception:
        run.fact(status(cluster))
        raise
    finally:
        kubectl("delete", "horizontalpodautoscaler", SCALED)
    cluster.settled()


@pytest.mark.core
@pytest.mark.usefixtures("measured")
def test_up_and_down_with_the_queue(installed: Cluster, scenario: Scenario) -> None:
    with (
        scenario(f"HPA by {METRIC}, up and down") as run,
        autoscaled(installed, run, scaled(), "autoscaling") as replicas,
    ):
        run.event("a crowd comes")
        with calling(installed.in_namespace(NAMESPACE), "crowd", *CROWD, node=installed.steady) as crowd:
            if not grown(installed, replicas, seconds=240):
                run.fact("the metric stayed below its target: this crowd is none for these nodes")
                pytest.skip("the crowd's calls never waited for the detector on these nodes")
            run.event(f"{replicas()} pods")
            installed.settled()
            most = replicas()
        run.outcome.calls.extend(crowd.calls)
        run.event("it leaves")
        until(lambda: replicas() == 2, seconds=300, what="two pods again", pause=1)
        run.event("2 pods")
        run.fact(f"{SCALED}: 2 pods, {most} with {len(crowd.calls)} calls of the crowd, 2 afterwards")


@pytest.mark.usefixtures("measured")
def test_two_waves(installed: Cluster, scenario: Scenario) -> None:
    """Each wave has its pods, and between them and afterwards there are two again; five minutes at least."""
    with (
        scenario(f"HPA by {METRIC}, two waves") as run,
        autoscaled(installed, run, scaled(window=30, period=20), "two-waves") as replicas,
    ):
        for number, (callers, seconds) in enumerate(WAVES):
            flags = (f"--callers={callers}", *CROWD[1:])
            run.event(f"{callers} callers come")
            with calling(installed.in_namespace(NAMESPACE), f"wave-{number}", *flags, node=installed.steady) as wave:
                ends = time.monotonic() + seconds
                if not grown(installed, replicas, seconds=240):
                    pytest.skip(f"the calls of {callers} callers never waited for the detector on these nodes")
                most = replicas()
                run.event(f"{most} pods")
                while time.monotonic() < ends:
                    time.sleep(1)
                    if replicas() > most:
                        most = replicas()
                        run.event(f"{most} pods")
            run.outcome.calls.extend(wave.calls)
            run.event("they leave")
            until(lambda: replicas() == 2, seconds=300, what="two pods again", pause=1)
            run.event("2 pods")
            run.fact(f"{SCALED}: {most} pods for {callers} callers with {len(wave.calls)} calls, 2 afterwards")


def grown(cluster: Cluster, replicas: Callable[[], int], seconds: float) -> bool:
    """Waits for a third pod; False where what waits for the model never came to the autoscaler's target.

    Raises:
        TimeoutError: it did, and no pod came.
    """
    end = time.monotonic() + seconds
    reached = False
    while replicas() <= 2:
        reached = reached or above(cluster.kubectl.get("horizontalpodautoscaler", SCALED))
        if time.monotonic() > end:
            if not reached:
                return False
            raise TimeoutError(f"no third pod within {seconds:.0f} s: {status(cluster)}")
        time.sleep(1)
    return True


def above(scaler: Json) -> bool:
    """Whether Ferry's metric is more than a tenth above its target, which is what autoscalers act on."""
    (target,) = (item["pods"]["target"] for item in scaler["spec"]["metrics"] if "pods" in item)
    now = [item["pods"]["current"] for item in scaler["status"].get("currentMetrics") or () if "pods" in item]
    return any(quantity(item["averageValue"]) > 1.1 * quantity(target["averageValue"]) for item in now)


def status(cluster: Cluster) -> str:
    """What the autoscaler says of itself, in a line."""
    found = cluster.kubectl.get("horizontalpodautoscalers")["items"]
    return json.dumps([item["status"] for item in found])
