"""What the simulator's autoscaler (`ferry bench autoscaling`) makes of the metrics that the real one saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from benchmarks.autoscaling.cluster import Conditions
from benchmarks.autoscaling.controller import Controller, Readings
from deploy.capacity.autoscaler import Autoscaler
from deploy.capacity.quantity import quantity
from tests.deploy.manifests import Json
from tests.kubernetes.kubectl import Kubectl

SYNC = 5.0
"""Seconds between two looks: the sync period of the clusters that FERRY_CLUSTER starts, which a real one has 15 of."""

START = Conditions().start_seconds
"""Seconds for which nothing is known of a new pod, as the simulator takes them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an autoscaler said of itself.

    Attributes:
        at: seconds since 1970.
        replicas: that it wanted.
        in_flight: requests per pod; None: it did not know.
        cpu: of a pod, as a share of its request; None: it did not know.
    """

    at: float
    replicas: int
    in_flight: float | None
    cpu: float | None


def seen(scaler: Json) -> Seen | None:
    """Of a HorizontalPodAutoscaler; None: it has not looked yet."""
    status = scaler.get("status", {})
    if "desiredReplicas" not in status:
        return None
    metrics = status.get("currentMetrics") or ()
    in_flight = [float(quantity(item["pods"]["current"]["averageValue"])) for item in metrics if "pods" in item]
    shares = [item["containerResource"]["current"] for item in metrics if "containerResource" in item]
    cpu = [share["averageUtilization"] / 100 for share in shares if "averageUtilization" in share]
    return Seen(time.time(), status["desiredReplicas"], next(iter(in_flight), None), next(iter(cpu), None))


@contextmanager
def watching(kubectl: Kubectl, name: str) -> Iterator[list[Seen]]:
    """What an autoscaler says, once in each of its periods, while the context lasts."""
    found: list[Seen] = []
    over = threading.Event()

    def look() -> None:
        ended = False
        while not ended:
            ended = over.wait(SYNC)
            if kubectl.succeeds("get", "horizontalpodautoscaler", name):
                said = seen(kubectl.get("horizontalpodautoscaler", name))
                if said is not None and said.replicas:
                    found.append(said)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(60)


def replayed(saw: Sequence[Seen], scaler: Autoscaler) -> list[int]:
    """The replicas that the simulator's controller wants after each look, beginning with those that there were."""
    if not saw:
        return []
    controller, born, wanted = Controller(scaler), [-inf] * saw[0].replicas, list[int]()
    for look in saw:
        young = sum(look.at - start < START for start in born)
        readings = [
            Readings((), len(born)) if value is None else Readings((value / target,) * (len(born) - young), young)
            for value, target in ((look.in_flight, scaler.in_flight), (look.cpu, scaler.cpu))
            if target is not None
        ]
        current = controller.sync(look.at, len(born), readings)
        born = [*born, *[look.at] * (current - len(born))][:current]
        wanted.append(current)
    return wanted


def apart(saw: Sequence[Seen], wanted: Sequence[int], seconds: float) -> int:
    """By how many pods the two differ at most where the simulator's may be so many seconds early or late."""
    pairs = [(look.at, n) for look, n in zip(saw, wanted, strict=True)]
    return max(
        (min(abs(look.replicas - n) for at, n in pairs if abs(at - look.at) <= seconds) for look in saw), default=0
    )


def draw(saw: Sequence[Seen], wanted: Sequence[int], scaler: Autoscaler, path: Path) -> bool:
    """Both, over what they were told; False where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    pods, told = figure.subplots(2, 1, sharex=True)
    times = [look.at - saw[0].at for look in saw]
    pods.step(times, [look.replicas for look in saw], where="post", label="Kubernetes", color="#3b76af")
    pods.step(times, wanted, where="post", label="simulator", color="#c44e52", linestyle="--")
    pods.set_ylabel("pods wanted")
    pods.set_ylim(bottom=0)
    pods.legend(fontsize=7, loc="lower right")
    for values, target, label in (
        ([look.in_flight for look in saw], scaler.in_flight, "requests in flight"),
        ([look.cpu for look in saw], scaler.cpu, "CPU"),
    ):
        if target is not None:
            shares = [float("nan") if value is None else value / target for value in values]
            told.plot(times, shares, label=label, linewidth=1)
    told.axhline(1, color="0.6", linewidth=0.8, linestyle="--")
    told.set_ylabel("of the target")
    told.set_xlabel("seconds")
    told.legend(fontsize=7, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
