"""Which pods count, and with what."""

from __future__ import annotations

import pytest

from benchmarks.autoscaling.pod import Pod
from benchmarks.autoscaling.readings import read
from deploy.capacity.autoscaler import Autoscaler
from deploy.capacity.manifests import Deployed

DEPLOYED = Deployed(Autoscaler("x", 1, 9, 2.0, 0.85), 1.0, 1.0, 1.0, 1.0, {})


def pod(born: float = 0.0, ready: float = 10.0) -> Pod:
    return Pod(1, born, born + 2, ready, 0)


def observed(*moments: tuple[float, int]) -> Pod:
    """Half busy, and holding what `moments` say."""
    it = pod(-1000, -990)
    for when, held in moments:
        it.held, it.assigned = held, when / 2
        it.observe(when)
    return it


def test_a_minute_of_samples_is_averaged() -> None:
    in_flight, cpu = read(100.0, [observed((30, 90), (45, 1), (60, 2), (75, 3), (90, 6))], DEPLOYED)
    assert in_flight.ratios == (pytest.approx(3 / 2),)
    assert cpu.ratios == (pytest.approx(0.5 / 0.85),)


def test_a_pod_is_pending_then_missing_then_counts() -> None:
    new = pod(100.0, 110.0)
    assert [m.ignored for m in read(101.0, [new], DEPLOYED)] == [1, 1]
    assert [m.missing for m in read(105.0, [new], DEPLOYED)] == [1, 1]
    new.observe(115.0)
    in_flight, cpu = read(116.0, [new], DEPLOYED)
    assert len(in_flight.ratios) == 1
    assert cpu.missing == 1


def test_cpu_counts_only_after_a_whole_window_since_the_pod_became_ready() -> None:
    new = pod(100.0, 110.0)
    for when in (112.0, 127.0):
        new.observe(when)
    # From 112 to 127: all of it since 110, but kept from counting until the kubelet's delay is over.
    assert read(130.0, [new], DEPLOYED)[1].missing == 1
    assert len(read(140.0, [new], DEPLOYED)[1].ratios) == 1


def test_cpu_of_a_pod_without_a_value_counts_as_its_target_where_that_is_above_the_request() -> None:
    above = Deployed(Autoscaler("x", 1, 9, None, 1.7), 0.5, 1.0, 1.0, 1.0, {})
    assert read(0.0, [pod()], above)[0].missing_ratio == 1.0
    assert read(0.0, [pod()], DEPLOYED)[1].missing_ratio == pytest.approx(1 / 0.85)
