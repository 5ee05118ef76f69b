"""The base's autoscaler follows what waits for a model, as a real Prometheus measures it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from deploy.capacity.autoscaler import parse
from deploy.capacity.quantity import quantity
from tests.deploy.manifests import Json
from tests.kubernetes.metrics_api import METRIC
from tests.kubernetes.scenarios.callers import NAMESPACE, calling
from tests.kubernetes.scenarios.cluster import Cluster, autoscaler, has_image
from tests.kubernetes.scenarios.conftest import OUT, Scenario
from tests.kubernetes.scenarios.prometheus import IMAGE, measuring
from tests.kubernetes.scenarios.replay import apart, draw, replayed, watching
from tests.processes import until

pytestmark = pytest.mark.core
SCALED = "detector"
MOST = 4
CROWD = ("--callers=14", "--pause=0", "--timeout=60")


@pytest.fixture
def measured(installed: Cluster) -> Iterator[None]:
    if not has_image(installed, IMAGE):
        pytest.skip(f"no node has {IMAGE} (scenarios/prometheus.Dockerfile; FERRY_E2E_PROMETHEUS names another)")
    with measuring(installed):
        yield


def patient() -> dict[str, object]:
    """The base's, without its minutes of patience, and with a bound that suits the test."""
    scaler = autoscaler(SCALED)
    assert METRIC in [metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if "pods" in metric]
    scaler["spec"]["maxReplicas"] = MOST
    down = scaler["spec"]["behavior"]["scaleDown"]
    down["stabilizationWindowSeconds"] = 0
    for policy in down["policies"]:
        policy["periodSeconds"] = 5
    # As much of the CPU limit as the base asks for, of the smaller request below.
    (cpu,) = (metric["containerResource"] for metric in scaler["spec"]["metrics"] if "containerResource" in metric)
    cpu["target"]["averageUtilization"] *= 2
    return scaler


@pytest.mark.usefixtures("measured")
def test_up_and_down_with_the_queue(installed: Cluster, scenario: Scenario) -> None:
    kubectl = installed.kubectl

    def replicas() -> int:
        return int(kubectl.get("deployment", SCALED)["spec"]["replicas"])

    with scenario(f"HPA by {METRIC}, up and down") as run:
        # With the request of overlay `local` its CPU metric would say nothing but `more`.
        kubectl("set", "resources", f"deployment/{SCALED}", "--requests=cpu=500m")
        installed.settled()
        kubectl.apply([patient()])
        try:
            with watching(kubectl, SCALED) as saw:
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
            scaler = parse(patient())
            wanted = replayed(saw, scaler)
            now, soon = (apart(saw, wanted, seconds) for seconds in (0, 30))
            run.fact(f"the simulator's autoscaler differs by {now} pods at most, by {soon} where it has 30 s")
            draw(saw, wanted, scaler, OUT / "autoscaling.png")
            assert soon <= 1, f"the simulator's autoscaler is {soon} pods away from the real one"
        except Exception:
            run.fact(status(installed))
            raise
        finally:
            kubectl("delete", "horizontalpodautoscaler", SCALED)
        installed.settled()


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
