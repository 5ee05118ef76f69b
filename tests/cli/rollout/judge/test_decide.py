"""What a judge does next, case by case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cli.rollout.judge.decide import Action, Cause, Known, Rules, decide
from cli.rollout.judge.guardrails import Limits, broken, by_chance, tail
from cli.rollout.judge.reading import Counts
from cli.rollout.judge.state import Phase, State, StateError, load

RULES = Rules(hold=60, least=50)
NEW, OLD = "c" * 16, "a" * 16
STEPPING = State(Phase.STEPPING, NEW, 0.01, 1000.0)


def well(images: float = 1000) -> Counts:
    return Counts(answered=images, computed={0.1: images, 0.25: 0.0, 0.5: 0.0, 1.0: 0.0})


def known(share: float = 0.01, **changes) -> Known:
    base = Known(
        now=1100.0,
        shares={"stable": 1 - share, "canary": share},
        pipelines={"stable": OLD, "canary": NEW},
        lately={"stable": well(), "canary": well()},
        at_step=100,
    )
    return replace(base, **changes)


def test_a_new_canary_begins_at_the_first_step_and_goes_up_to_all() -> None:
    state, share, seen = State(), 0.0, []
    for round_ in range(20):
        decision = decide(state, known(share, now=1000.0 + 61 * round_), RULES)
        state = decision.state
        if decision.share is not None:
            share = decision.share
            seen.append(share)
    assert seen == [0.01, 0.05, 0.25, 0.5, 1.0]
    assert state.phase is Phase.DONE
    assert [words for _, words in state.events][-1] == "all steps are done at 100.0%"


def test_a_weight_that_a_person_gave_a_new_canary_is_where_it_begins() -> None:
    decision = decide(State(), known(0.1), RULES)
    assert (decision.action, decision.share, decision.state.share) == (Action.START, None, 0.1)


def test_beside_a_third_variant_it_goes_up_to_what_stable_has() -> None:
    shares, state, seen = {"stable": 0.6, "canary": 0.0, "trial": 0.4}, State(), []
    for round_ in range(20):
        decision = decide(state, known(now=1000.0 + 61 * round_, shares=shares), RULES)
        state = decision.state
        if decision.share is not None:
            shares = {**shares, "canary": decision.share, "stable": 0.6 - decision.share}
            seen.append(decision.share)
    assert seen == [0.01, 0.05, 0.25, 0.5, pytest.approx(0.6)]
    assert (state.phase, state.reason) == (Phase.DONE, "all steps are done at 60.0%")


def test_no_canary_begins_where_stable_has_no_callers_to_give() -> None:
    decision = decide(State(), known(shares={"stable": 0.0, "canary": 0.0, "trial": 1.0}), RULES)
    assert (decision.action, decision.share) == (Action.NONE, None)
    assert decision.state.reason == "stable has no callers to give"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"now": 1059.0}, "holds 1.0% for 60 s"),
        ({"at_step": 49}, "waits for 50 images"),
        ({"missing": "no gateway answers"}, "no gateway answers"),
        ({"pipelines": {"stable": OLD}}, "not known"),
        ({"pipelines": {"stable": NEW, "canary": NEW}}, "same pipeline"),
        ({"shares": {"stable": 1.0}}, "no variant canary"),
    ],
)
def test_what_is_missing_stops_a_step_and_is_named(changes, words) -> None:
    decision = decide(STEPPING, known(**changes), RULES)
    assert decision.share is None
    assert decision.action is Action.NONE
    assert words in decision.state.reason


def test_a_step_of_a_clock_that_was_ahead_holds_from_now_on() -> None:
    ahead = replace(STEPPING, since=1100.0 + 7200)
    first = decide(ahead, known(), RULES)
    assert (first.action, first.state.since, first.state.reason) == (Action.NONE, 1100.0, "holds 1.0% for 60 s")
    assert decide(first.state, known(now=1159.0), RULES).action is Action.NONE
    assert decide(first.state, known(now=1160.0), RULES).action is Action.STEP
    put_back = decide(ahead, known(jumped=-7210.0), RULES)
    assert (put_back.action, put_back.state.since) == (Action.NONE, ahead.since), "it has held for ten seconds"


@pytest.mark.parametrize(
    ("canary", "words", "cause"),
    [
        (Counts(errors=20, answered=80, computed={0.1: 80.0}), "errors: 20.0% of 100", Cause.ERRORS),
        (Counts(answered=100, degraded=30, computed={0.1: 100.0}), "degraded answers: 30.0%", Cause.DEGRADED),
        (Counts(answered=100, computed={0.1: 50.0, 0.25: 0.0, 0.5: 50.0}), "latency: 50.0%", Cause.LATENCY),
    ],
)
def test_a_broken_guardrail_takes_the_canary_back_whatever_else_is_missing(canary, words, cause) -> None:
    now = known(lately={"stable": well(), "canary": canary}, missing="one gateway", now=1001.0)
    decision = decide(STEPPING, now, RULES)
    assert (decision.action, decision.share, decision.cause) == (Action.ROLL_BACK, 0.0, cause)
    assert words in decision.state.reason
    again = decide(decision.state, known(0.0, now=9999.0), RULES)
    assert (again.action, again.share) == (Action.NONE, None), "not again with the same pipeline"
    assert again.state.reason == decision.state.reason, "the reason stays to be read"
    fresh = decide(decision.state, known(0.0, pipelines={"stable": OLD, "canary": "d" * 16}), RULES)
    assert (fresh.action, fresh.share) == (Action.START, 0.01)


def test_labels_that_speak_against_it_take_it_back() -> None:
    decision = decide(STEPPING, known(worse="labels: canary is worse"), RULES)
    assert (decision.action, decision.share, decision.cause) == (Action.ROLL_BACK, 0.0, Cause.LABELS)


def test_at_the_last_step_it_is_still_watched() -> None:
    state = replace(STEPPING, phase=Phase.DONE, share=1.0)
    hurt = {"canary": Counts(errors=50, answered=50)}
    assert decide(state, known(1.0, lately=hurt), RULES).action is Action.ROLL_BACK


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_a_person_sets_counts(share) -> None:
    hurt = {"canary": Counts(errors=50, answered=50), "stable": well()}
    decision = decide(STEPPING, known(share, lately=hurt), RULES)
    assert (decision.action, decision.share) == (Action.STAND_BACK, None)
    later = decide(decision.state, known(share, now=9999.0), RULES)
    assert (later.action, later.share) == (Action.NONE, None)


def test_a_changed_pipeline_begins_at_the_first_step() -> None:
    decision = decide(replace(STEPPING, share=0.5), known(0.5, pipelines={"stable": OLD, "canary": "d" * 16}), RULES)
    assert (decision.action, decision.share) == (Action.START, 0.01)


def test_chance_breaks_no_guardrail() -> None:
    limits = Limits()
    assert not broken(Counts(errors=1, answered=9, degraded=1, computed={1.0: 1.0}), well(), limits)
    assert not broken(Counts(), Counts(), limits)
    tolerated = Counts(errors=25, answered=975, degraded=30, computed={0.1: 975.0})
    assert not broken(tolerated, well(), limits)
    assert broken(Counts(errors=8), well(), limits), "all of a few is more than chance"


def test_the_tail_is_that_of_the_binomial() -> None:
    assert tail(0, 10, 0.5) == 1
    assert tail(10, 10, 0.5) == pytest.approx(0.5**10)
    assert tail(1e9, 2e9, 0.02) == 0, "too small for a number, and known at once"
    assert tail(2, 100, 0.001) == pytest.approx(1 - 0.999**100 - 100 * 0.001 * 0.999**99, rel=1e-6)


def test_a_state_comes_back_and_garbage_is_an_error() -> None:
    state = replace(STEPPING, events=((1.0, "a"),), reason="x", holder="h", until=5.0)
    assert load(state.dump()) == state
    assert load("") == State()
    for garbage in (
        "{",
        "[]",
        '{"phase": "flying"}',
        '{"unknown": 1}',
        "null",
        "0",
        '{"since": null}',
        '{"until": NaN}',
    ):
        with pytest.raises(StateError):
            load(garbage)


def test_an_idle_stable_is_no_stable_without_faults() -> None:
    limits = Limits(errors=0.02, degraded=0.05)
    idle = Counts()
    for of_old in (idle, Counts(answered=10)):
        usual = Counts(errors=40, answered=960, degraded=80)
        assert not broken(usual, of_old, limits), "nothing is known that it would be worse than"
        assert "more than a fifth" in broken(Counts(errors=90, answered=10), of_old, limits)
    assert broken(Counts(errors=90, answered=910), Counts(errors=10, answered=990), limits)
    assert not broken(Counts(errors=40, answered=960), Counts(errors=40, answered=960), limits)


def test_an_old_variant_of_which_few_were_counted_breaks_no_equal_one() -> None:
    """The last minute in which stable was asked may hold fifty images, while an equal canary has thousands."""
    random, limits, wrong = np.random.default_rng(2), Limits(), 0
    for old, new in ((50, 3000), (60, 500), (200, 2000), (1000, 1000)):
        for _ in range(250):
            old_failed, new_failed = (random.binomial(n, 0.05) for n in (old, new))
            old_degraded, new_degraded = (random.binomial(n, 0.1) for n in (old, new))
            was = Counts(errors=old_failed, answered=old, degraded=old_degraded)
            wrong += bool(broken(Counts(errors=new_failed, answered=new, degraded=new_degraded), was, limits))
    assert wrong <= 1


def test_a_canary_that_fails_a_fifth_more_is_found_however_few_of_stable_were_counted() -> None:
    assert broken(Counts(errors=60, answered=140), Counts(errors=1, answered=49), Limits())


def test_at_the_edge_of_what_is_tolerated_a_rate_is_called_worse_by_chance_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    for old, new in ((50, 200), (500, 50), (400, 400)):
        wrong = sum(
            by_chance(random.binomial(new, 0.07), new, random.binomial(old, 0.05), old, 0.02) < 0.05 for _ in range(400)
        )
        assert wrong <= 0.05 * 400
    assert by_chance(0, 10, 0, 10, 0.0) == 1
    assert by_chance(100, 100, 0, 100, 0.0) < 1e-20
    assert by_chance(50, 50, 0, 50, 1.0) == 1
