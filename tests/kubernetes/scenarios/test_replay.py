"""What a real autoscaler said is read, and the simulator's follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.capacity.autoscaler import Autoscaler, Policy, Rules, Select
from tests.kubernetes.scenarios.replay import Seen, apart, draw, replayed, seen

DOWN = Rules(0, Select.MAX, (Policy(True, 100, 5),))
SCALER = Autoscaler("detector", 2, 4, 2.0, 1.7, down=DOWN)


def test_a_status_is_read() -> None:
    metrics = [
        {"type": "Pods", "pods": {"current": {"averageValue": "2600m"}}},
        {"type": "ContainerResource", "containerResource": {"current": {"averageUtilization": 88}}},
    ]
    found = seen({"status": {"desiredReplicas": 3, "currentMetrics": metrics}})
    assert found is not None
    assert (found.replicas, found.in_flight, found.cpu) == (3, 2.6, 0.88)
    assert seen({}) is None


def test_the_simulator_goes_up_and_down_with_what_was_seen(tmp_path: Path) -> None:
    saw = [Seen(5.0 * i, 2 if i < 4 else 3, 1.0 if i < 3 else 2.6, 0.5) for i in range(10)]
    saw += [Seen(50.0 + 5 * i, 2, 0.1, 0.1) for i in range(4)]
    wanted = replayed(saw, SCALER)
    assert wanted[2] == 2
    assert max(wanted) == 4
    assert wanted[-1] == 2
    assert apart(saw, wanted, 0) <= 1
    pytest.importorskip("matplotlib")
    assert draw(saw, wanted, SCALER, tmp_path / "both.png")


def test_a_pod_that_starts_asks_for_no_other_one() -> None:
    saw = [Seen(4.0 * i, 3, 2.4, 0.5) for i in range(2)]
    assert replayed([Seen(-5.0, 2, 2.4, 0.5), *saw], SCALER) == [3, 3, 3]


def test_what_is_not_known_changes_nothing() -> None:
    assert replayed([Seen(0.0, 2, None, None), Seen(5.0, 2, None, 9.0)], SCALER) == [2, 4]
