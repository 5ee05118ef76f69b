"""What is deployed keeps its objective."""

from __future__ import annotations

from benchmarks.autoscaling.cluster import Conditions
from benchmarks.autoscaling.command import simulate
from benchmarks.autoscaling.outcome import OBJECTIVE_SECONDS, End
from benchmarks.autoscaling.readings import AVERAGE_SECONDS, SCRAPE_SECONDS
from deploy.capacity.costs import read_costs
from deploy.capacity.manifests import read_manifests
from tests.processes import ROOT

MANIFESTS, COSTS = read_manifests(ROOT / "deploy/k8s/base"), read_costs()


def test_half_as_much_again_is_followed_inside_the_objective_without_flapping() -> None:
    outcome = simulate("step", MANIFESTS, COSTS, Conditions(peak=40, seed=1))
    assert outcome.quantile(0.95) <= OBJECTIVE_SECONDS
    assert not outcome.flaps
    assert outcome.holds
    assert outcome.count(End.LATE) == 0
    assert outcome.replicas("detector")[-1] > outcome.replicas("detector")[0]
    # Three minutes after the step it is over.
    begins, p95 = outcome.quantiles(0.95)
    assert p95[begins > 780].max() <= OBJECTIVE_SECONDS


def test_a_spike_is_shed_and_nobody_waits_in_vain() -> None:
    outcome = simulate("spike", MANIFESTS, COSTS, Conditions(peak=60, seed=1))
    assert outcome.count(End.SHED) > 0
    assert outcome.count(End.LATE) == 0
    begins, p95 = outcome.quantiles(0.95)
    assert p95[begins > 900].max() <= OBJECTIVE_SECONDS


def test_the_objective_and_the_delays_are_those_of_the_rules() -> None:
    monitoring = ROOT / "deploy/k8s/components/monitoring"
    assert f"answered within {OBJECTIVE_SECONDS:g} s" in (monitoring / "prometheus-rule.yaml").read_text()
    assert f"interval: {SCRAPE_SECONDS}s" in (monitoring / "service-monitor.yaml").read_text()
    adapter = (ROOT / "deploy/prometheus/adapter-values.yaml").read_text()
    assert f"[{AVERAGE_SECONDS / 60:g}m]" in adapter
