"""Made-up experiments: the rules of `ferry ab` keep what they promise."""

import numpy as np
import pytest

from benchmarks.experiments.running import follow
from benchmarks.experiments.scenario import SCENARIOS, Scenario
from benchmarks.experiments.simulate import simulate, simulate_ratio
from cli.ab.estimate import mean


def test_following_gives_what_the_estimate_gives_at_every_label() -> None:
    random = np.random.default_rng(0)
    callers = random.integers(0, 30, 400)
    arms, right = callers % 2, (random.random(400) < 0.7).astype(float)
    running = follow(right, arms, callers)
    for n in (60, 200, 400):
        both = [mean(right[:n][arms[:n] == arm], callers[:n][arms[:n] == arm]) for arm in (0, 1)]
        assert running.difference[n - 1] == pytest.approx(both[1].value - both[0].value)
        assert running.variance[n - 1] == pytest.approx(both[0].variance + both[1].variance)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_few_false_verdicts_however_often_one_looks_and_true_differences_found(scenario: Scenario) -> None:
    outcome = simulate(scenario, experiments=100, labels=5000, effect=0.03, seed=3)
    assert outcome.false_alarms <= 0.09  # 0.05 are promised; of 100, more than 9 would be a chance of one in 30
    assert outcome.common > 0.2
    assert outcome.power >= 0.7
    assert outcome.found_after < outcome.planned


def test_a_fault_of_the_shares_is_found_and_right_shares_are_left_alone() -> None:
    outcome = simulate_ratio(experiments=20, callers=12_000, seed=4)
    assert outcome.false_alarms <= 0.05
    assert outcome.found >= 0.9
