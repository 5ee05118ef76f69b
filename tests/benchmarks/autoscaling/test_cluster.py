"""The queues against theory, and nothing gets lost in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.autoscaling.cluster import Cluster, Conditions
from benchmarks.autoscaling.outcome import End, Outcome
from benchmarks.autoscaling.scenario import Scenario
from deploy.capacity.autoscaler import Autoscaler
from deploy.capacity.costs import Costs, Line, ServiceCost
from deploy.capacity.manifests import Deployed

SECONDS = 2000
DETECTOR_SECONDS = 0.1
RUNS = {n: n * DETECTOR_SECONDS for n in (1, 2, 4)}
FIXED = Autoscaler("x", 1, 9, 2.0, None)


def deployed(**settings: str) -> Deployed:
    return Deployed(FIXED, 1.0, 1.0, 1.0, 1.0, settings)


MANIFESTS = {
    "gateway": deployed(FERRY_MAX_CONNECTION_AGE="30"),
    "ensembler": deployed(),
    "detector": deployed(FERRY_MAX_BATCH="1"),
    "classifier-a": deployed(),
}
COSTS = Costs(
    "none",
    "made up",
    {
        "gateway": ServiceCost(0.0, {}),
        "ensembler": ServiceCost(0.0, {}),
        "detector": ServiceCost(0.0, RUNS),
        "classifier-a": ServiceCost(0.0, {1: 0.001}),
    },
    0.0,
    1000,
    1000,
    Line(100, 100),
    Line(100, 100),
)
QUIET = Conditions(peak=7.0, hit_rate=0.0, faces=0.0, spread=0.0, autoscaling=False, dns_seconds=0.0)
ONE_EACH = dict.fromkeys(MANIFESTS, 1)


def run(conditions: Conditions = QUIET, seconds: int = SECONDS, manifests=MANIFESTS, replicas=ONE_EACH) -> Outcome:
    flat = Scenario("flat", "", seconds, np.ones_like, counted_from=0)
    return Cluster(manifests, COSTS, conditions, replicas).run(flat)


@pytest.mark.parametrize("rate", [3.0, 5.0, 7.0])
def test_one_detector_waits_as_long_as_pollaczek_and_khinchine_say(rate: float) -> None:
    outcome = run(replace(QUIET, peak=rate), seconds=6000)
    busy = rate * DETECTOR_SECONDS
    expected = DETECTOR_SECONDS * (1 + busy / (2 * (1 - busy)))
    assert outcome.seconds.mean() == pytest.approx(expected, rel=0.1)


def test_in_flight_is_rate_times_time() -> None:
    outcome = run()
    little = len(outcome.seconds) / SECONDS * outcome.seconds.mean()
    assert outcome.in_flight["detector"].mean() == pytest.approx(little, rel=0.1)


@pytest.mark.parametrize("peak", [5.0, 60.0])
def test_whatever_arrives_is_answered_refused_late_or_under_way(peak: float) -> None:
    outcome = run(replace(QUIET, peak=peak, faces=1.2, hit_rate=0.2), seconds=120)
    ended = sum(outcome.count(end) for end in End)
    assert ended + outcome.in_flight["gateway"][-1] == pytest.approx(outcome.arrivals, abs=peak * 1.5)
    assert len(outcome.seconds) == ended
    assert (outcome.seconds >= 0).all()


def test_a_queue_that_is_full_refuses_and_one_that_is_long_makes_late() -> None:
    overload = replace(QUIET, peak=60.0)
    long = run(overload, seconds=60)
    assert long.count(End.LATE) > 0
    short = run(overload, seconds=60, manifests=MANIFESTS | {"detector": deployed(FERRY_MAX_QUEUE="8")})
    assert short.count(End.LATE) == 0
    assert short.count(End.SHED) > 0
    assert short.seconds.max() < 8 * DETECTOR_SECONDS + 4 * DETECTOR_SECONDS
    assert short.shed_between is not None


def test_what_is_cached_never_reaches_a_model() -> None:
    outcome = run(replace(QUIET, hit_rate=1.0), seconds=60)
    assert outcome.in_flight["detector"].max() == 0
    assert len(outcome.seconds) == outcome.arrivals


def test_the_same_seed_gives_the_same_run() -> None:
    first, again = run(seconds=100), run(seconds=100)
    other = run(replace(QUIET, seed=2), seconds=100)
    assert np.array_equal(first.seconds, again.seconds)
    assert not np.array_equal(first.seconds, other.seconds)


def test_new_pods_start_take_load_and_share_it() -> None:
    scaled = replace(QUIET, peak=25.0, autoscaling=True, start_seconds=20.0, dns_seconds=5.0)
    outcome = run(scaled, seconds=600)
    assert max(outcome.replicas("detector")) >= 3
    _, p95 = outcome.quantiles(0.95)
    assert p95[-5:].max() < 3 * DETECTOR_SECONDS
    # Nobody is quicker than the metric, the controller and the start of a pod.
    assert outcome.changes["detector"][1].when >= 15
    slow = outcome.quantiles(0.95)[1][1]
    assert slow > 3 * DETECTOR_SECONDS


def test_load_that_turns_is_no_flapping() -> None:
    up_and_down = Scenario("x", "", 600, lambda t: np.abs(t - 300))
    assert up_and_down.turns == 1
    assert Scenario("x", "", 600, np.ones_like).turns == 0
