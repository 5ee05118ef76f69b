"""Made-up experiments: the rules of `ferry ab` keep what they promise."""

import numpy as np
import pytest

from benchmarks.experiments.cache import simulate_cache
from benchmarks.experiments.figure import draw
from benchmarks.experiments.ratio import simulate_ratio
from benchmarks.experiments.running import follow
from benchmarks.experiments.scenario import SCENARIOS, Scenario
from benchmarks.experiments.simulate import simulate
from benchmarks.experiments.steps import simulate_steps
from benchmarks.experiments.whole import simulate_whole
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


def test_false_verdicts_of_several_variants_and_guardrails_do_not_add_up() -> None:
    outcome = simulate_whole(experiments=60, labels=3000, seed=5)
    assert outcome.false_alarms <= 0.09
    assert outcome.uncorrected > outcome.false_alarms


def test_a_canary_that_is_stepped_up_while_pictures_become_harder_is_not_called_worse() -> None:
    outcome = simulate_steps(experiments=10, labels=4000, seed=6)
    assert outcome.false_alarms <= 0.1
    assert outcome.pooled >= 0.5, "what it would be otherwise"


def test_a_canary_whose_cache_is_empty_is_not_called_worse() -> None:
    outcome = simulate_cache(experiments=10, images=10_000, seed=7)
    assert outcome.false_alarms <= 0.1  # 0.007 are allowed; of 10, more than one would be a chance of one in 500
    assert outcome.counting_hits >= 0.8, "what it would be otherwise"


def test_each_kind_of_experiment_has_its_picture(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    outcomes = [simulate(scenario, experiments=2, labels=200, effect=0.09, seed=1) for scenario in SCENARIOS]
    steps = simulate_steps(2, 400, 1)
    cache, whole, ratio = simulate_cache(2, 400, 1), simulate_whole(2, 400, 1), simulate_ratio(2, 500, 1)
    files = draw(outcomes, whole, ratio, steps, cache, tmp_path / "new")
    assert [file.stem for file in files[3:]] == ["sample-ratio", "steps", "cache"]
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in files)
