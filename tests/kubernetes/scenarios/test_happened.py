"""Events of a cluster can be read as `kubectl get events` shows them."""

from __future__ import annotations

from tests.deploy.manifests import Json
from tests.kubernetes.events import told
from tests.kubernetes.scenarios.happened import lines

START = 1_780_000_000.0
"""2026-05-28 20:26:40 UTC."""


def event(reason: str, message: str, **times: object) -> Json:
    about = {"kind": "Pod", "name": "detector-1"}
    return {"type": "Warning", "reason": reason, "involvedObject": about, "message": message, **times}


def test_the_oldest_first_and_nothing_of_before() -> None:
    events = [
        event("BackOff", "Back-off restarting\n failed container", lastTimestamp="2026-05-28T20:26:55Z", count=3),
        event("Scheduled", "assigned", lastTimestamp=None, eventTime="2026-05-28T20:26:41.500000Z"),
        event("Old", "of another scenario", lastTimestamp="2026-05-28T20:26:00Z"),
        event("Again", "seen", series={"count": 7, "lastObservedTime": "2026-05-28T20:27:40.000000Z"}),
    ]
    assert lines(events, START) == [
        "2s  Warning  Scheduled  pod/detector-1  assigned",
        "15s  Warning  BackOff  pod/detector-1  Back-off restarting failed container (x3)",
        "60s  Warning  Again  pod/detector-1  seen (x7)",
    ]


def test_what_is_told_of_a_scenario_is_the_first_of_each_kind_of_event() -> None:
    seen = [
        "1s  Normal  Scheduled  pod/detector-776b886c8f-sx9dz  Successfully assigned",
        "2s  Warning  Unhealthy  pod/detector-776b886c8f-sx9dz  Readiness probe failed:  timeout (x2)",
        "3s  Warning  Unhealthy  pod/detector-64644b984c-vxgf8  Readiness probe failed: timeout",
        "4s  Warning  Unhealthy  pod/redis-0  Readiness probe failed: refused",
        "40s  Normal  NodeNotReady  node/node-2  Node node-2 status is now: NodeNotReady",
    ]
    assert list(told(seen)) == [
        "  2s  Warning  Unhealthy  pod/detector  Readiness probe failed:  timeout  (and of 1 more)",
        " 40s  Normal   NodeNotReady  node/node-2  Node node-2 status is now: NodeNotReady",
    ]
