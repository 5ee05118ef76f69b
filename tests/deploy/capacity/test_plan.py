"""The formula, by hand and by its direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.capacity.autoscaler import Autoscaler
from deploy.capacity.costs import Costs, Line, ServiceCost
from deploy.capacity.manifests import Deployed
from deploy.capacity.plan import Load, busy_share, plan, utilization

MODEL = Deployed(Autoscaler("m", 2, 20, 1.5, 0.85), 1.0, 1.0, 2e9, 2e9, {})
LIGHT = Deployed(Autoscaler("l", 2, 10, None, 2.0), 0.25, 1.0, 1e9, 1e9, {})
MANIFESTS = {"gateway": LIGHT, "ensembler": LIGHT, "detector": MODEL, "classifier-a": MODEL}
COSTS = Costs(
    "none",
    "made up",
    {
        "gateway": ServiceCost(0.002, {}),
        "ensembler": ServiceCost(0.003, {}),
        "detector": ServiceCost(0.005, {1: 0.020, 4: 0.080}),
        "classifier-a": ServiceCost(0.002, {1: 0.010}),
    },
    cached_seconds=0.001,
    image_bytes=50_000,
    crop_bytes=10_000,
    answer_bytes=Line(200, 800),
    entry_bytes=Line(300, 700),
)
LOAD = Load(1000, hit_rate=0.4, faces=1.5, ttl_seconds=600, spare=1)


def test_how_busy_a_pod_is_at_its_target() -> None:
    # r + r^2 / (2 (1 - r)), the table of base/autoscaling.yaml.
    for share, held in ((0.6, 1.05), (0.7, 1.5167), (0.8, 2.4)):
        assert busy_share(held) == pytest.approx(share, abs=1e-3)
    assert utilization(MODEL) == pytest.approx(busy_share(1.5))
    assert utilization(replace(MODEL, autoscaler=replace(MODEL.autoscaler, cpu=0.5))) == 0.5
    assert utilization(LIGHT) == 0.5


def test_an_example_by_hand() -> None:
    result = plan(LOAD, COSTS, MANIFESTS)
    # 600 misses a second. Detector: 600 * 25 ms = 15 CPUs, at 0.697 busy 21.5, so 22, and a spare one.
    detector = result.services["detector"]
    assert detector.busy_cpus == pytest.approx(15)
    assert (detector.pods, detector.exceeds) == (23, True)
    assert detector.cpu_limits == 23
    # Classifier: 600 * (2 + 1.5 * 10) ms = 10.2 CPUs -> 14.6 -> 15, and one.
    assert result.services["classifier-a"].pods == 16
    # Gateway: 400 hits of 1 ms, 600 misses of 2 ms = 1.6 CPUs at half a CPU each -> 4, and one.
    assert result.services["gateway"].pods == 5
    # Ensembler: 1.8 CPUs -> 4, and one.
    assert result.services["ensembler"].pods == 5
    assert result.pods == 49
    assert result.memory_requests == (23 + 16) * 2e9 + 10 * 1e9
    # 600 a second for 600 s, 300 + 1.5 * 700 bytes each.
    assert result.redis.entries == 360_000
    assert result.redis.memory == 360_000 * 1350
    assert (result.redis.gets_per_second, result.redis.sets_per_second) == (1000, 600)
    assert result.redis.bytes_per_second == 1000 * 1350
    assert result.edge_bytes_per_second == 1000 * (50_000 + 200 + 1.5 * 800)
    # Twice the image, once the answer, the crops to the ensembler and to one classifier; and Redis.
    assert result.inner_bytes_per_second == 600 * (100_000 + 1400 + 1.5 * 10_000 * 2) + 1000 * 1350


@pytest.mark.parametrize(
    ("more", "less"),
    [
        (replace(LOAD, images_per_second=2000), LOAD),
        (replace(LOAD, faces=3.0), LOAD),
        (LOAD, replace(LOAD, hit_rate=0.8)),
        (replace(LOAD, spare=3), LOAD),
    ],
)
def test_more_load_never_needs_less(more: Load, less: Load) -> None:
    larger, smaller = plan(more, COSTS, MANIFESTS), plan(less, COSTS, MANIFESTS)
    assert larger.pods > smaller.pods
    assert larger.redis.memory >= smaller.redis.memory
    assert larger.inner_bytes_per_second >= smaller.inner_bytes_per_second
    for name in MANIFESTS:
        assert larger.services[name].pods >= smaller.services[name].pods


def test_pods_do_not_fall_with_load_at_any_step() -> None:
    pods = [plan(replace(LOAD, images_per_second=n * 7.0), COSTS, MANIFESTS).pods for n in range(200)]
    assert pods == sorted(pods)


def test_without_load_the_minimum_is_left() -> None:
    assert plan(replace(LOAD, images_per_second=0, spare=0), COSTS, MANIFESTS).pods == 8


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"hit_rate must be 0 to 1, not 1\.5"):
        plan(replace(LOAD, hit_rate=1.5), COSTS, MANIFESTS)
    with pytest.raises(ValueError, match="classifier-b was never measured"):
        plan(LOAD, COSTS, MANIFESTS | {"classifier-b": MODEL})
    with pytest.raises(ValueError, match="images_per_second"):
        plan(replace(LOAD, images_per_second=float("nan")), COSTS, MANIFESTS)
