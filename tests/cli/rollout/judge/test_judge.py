"""A judge with a real file, a real metrics page and a real API of a few lines."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli.rollout import app
from cli.rollout.judge.decide import Action, Rules
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.labels import Labels
from cli.rollout.judge.sources import Gateways, Prometheus
from cli.rollout.judge.state import LEASE_SECONDS, Phase
from tests.cli.rollout.judge.conftest import RULES, TABLE, Clock, run, source_at


@pytest.mark.parametrize("source", [Gateways, Prometheus])
def test_a_canary_steps_up_and_is_taken_back_with_the_first_look_that_shows_it(page, place, source) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, source_at(source, port), RULES, clock=clock)
    assert run(judge, clock, kept, 6) == [Action.START, Action.STEP]
    assert place.read().table.shares["canary"] == pytest.approx(0.5)
    assert run(judge, clock, kept, 1, failing=20) == [Action.ROLL_BACK]
    found = place.read()
    assert found.table.shares["canary"] == 0
    assert found.state.phase is Phase.ROLLED_BACK
    assert "errors" in found.state.reason
    shown = CliRunner().invoke(app, ["status", "--routing-file", str(place.path)])
    assert "canary: 0.0% of the callers" in shown.output
    assert "judge: rolled-back: errors" in shown.output
    assert "10.0% held; now 50.0%" in shown.output


def test_a_state_that_cannot_be_read_is_said_and_left_as_it_is(page, place, caplog) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    run(judge, clock, kept, 1)
    place.state_path.write_text("half a sta")
    assert run(judge, clock, kept, 5, failing=20) == []
    assert "is no state of a judge" in caplog.text
    assert str(place.state_path) in caplog.text
    assert place.state_path.read_text() == "half a sta"
    place.state_path.unlink()
    assert run(judge, clock, kept, 1) == [Action.START], "it begins anew where a person has removed it"


def test_a_canary_alone_is_compared_with_what_stable_last_did(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 12) == [Action.START, Action.STEP, Action.STEP, Action.FINISH]
    for _ in range(30):
        clock.now += 4
        kept.asked["canary"] += 40
        assert judge.look() is Action.NONE
    done = []
    for _ in range(2):
        clock.now += 4
        kept.asked["canary"] += 40
        kept.failed += 20
        done.append(judge.look())
    assert Action.ROLL_BACK in done, "within ten seconds"


def test_another_judge_goes_on_where_the_first_one_died(page, place) -> None:
    kept, port = page
    clock = Clock()
    first, second = (Judge(n, place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock) for n in ("one", "two"))
    assert run(first, clock, kept, 1) == [Action.START]
    assert run(second, clock, kept, 5) == [], "it is not its turn"
    clock.now += LEASE_SECONDS
    assert run(second, clock, kept, 6) == [Action.STEP, Action.STEP]
    assert place.read().state.holder == "two"
    assert run(first, clock, kept, 1) == []


def test_whoever_sees_harm_takes_the_canary_back_whosever_turn_it_is(page, place) -> None:
    """The first judge dies; its lease has half a minute to go when the canary begins to fail."""
    kept, port = page
    clock = Clock()
    first, second = (Judge(n, place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock) for n in ("one", "two"))
    for _ in range(2):
        run(first, clock, kept, 1)
        second.look()
    assert place.read().state.holder == "one"
    assert run(second, clock, kept, 2, failing=30) == [Action.ROLL_BACK], "within ten seconds"
    assert place.read().table.shares["canary"] == 0
    assert run(first, clock, kept, 3, failing=30) == [], "once is enough"


def test_a_person_wins(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    run(judge, clock, kept, 1)
    place.path.write_text(TABLE.replace("weight = 0.0", "weight = 3.0"))
    assert run(judge, clock, kept, 10, failing=30) == [Action.STAND_BACK]
    assert place.read().table.shares["canary"] == pytest.approx(0.75)


def test_harm_that_has_just_begun_does_not_drown_in_the_minute_before(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), Rules(hold=1e6), clock=clock)
    assert run(judge, clock, kept, 15) == [Action.START]
    assert run(judge, clock, kept, 2, failing=12) == [Action.ROLL_BACK]


@pytest.mark.parametrize("jump", [86400, -86400])
def test_a_clock_that_is_set_makes_no_hold_shorter_or_longer(page, place, jump) -> None:
    kept, port = page
    clock, steady = Clock(), Clock()
    rules = Rules(steps=(0.1, 0.5), hold=600, least=20)
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), rules, clock=clock, steady=steady)

    def looks(number: int) -> list[Action]:
        done = []
        for _ in range(number):
            steady.now += 4
            done += run(judge, clock, kept, 1)
        return done

    assert looks(1) == [Action.START]
    text = place.path.read_text()
    place.path.write_text("no table")
    clock.now += jump
    assert looks(1) == [], "nothing is known of a step, and the clock jumps"
    place.path.write_text(text)
    assert looks(99) == []
    assert "holds 10.0%" in place.read().state.reason
    assert looks(60) == [Action.STEP]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--steps", "0.5,0.1"], "rising"),
        (["--steps", "nan"], "shares"),
        (["--routing-file", "routing.json"], ".toml"),
        (["--hold", "nan"], "--hold"),
        (["--slower", "0.5"], "--slower"),
        (["--gateways", "here"], "host:port"),
        (["--gateways", "here:9090,there:99999"], "there:99999"),
        (["--gateways", "http://here:9090"], "host:port"),
        (["--gateways", ""], "give one of"),
    ],
)
def test_bad_options_are_named(arguments, word) -> None:
    done = CliRunner().invoke(app, ["judge", "--gateways", "127.0.0.1:1", *arguments])
    assert done.exit_code == 2
    assert word in done.output


def test_a_clock_that_is_put_back_makes_no_guardrail_blind(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    clock.now -= 7200
    assert run(judge, clock, kept, 3, failing=30) == [Action.ROLL_BACK]


def test_a_lease_of_a_clock_that_went_ahead_keeps_nobody_away(page, place) -> None:
    kept, port = page
    clock, ahead = Clock(), Clock()
    ahead.now += 7200
    first = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=ahead)
    assert run(first, ahead, kept, 1) == [Action.START]
    second = Judge("two", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(second, clock, kept, 4, failing=30) == [Action.ROLL_BACK]


def test_what_labels_said_of_a_former_pipeline_does_not_take_the_next_one_back(page, place) -> None:
    kept, port = page
    clock, labels = Clock(), Labels("redis://127.0.0.1:1", "canary")
    labels._known("f" * 16, "labels: canary is worse")
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, labels=labels, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    labels.worse = ("c" * 16, "labels: canary is worse")
    assert run(judge, clock, kept, 1) == [Action.ROLL_BACK]
    assert "canary is worse" in place.read().state.reason


def test_answers_from_the_cache_are_no_reason_for_a_step(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 1) == [Action.START]
    for _ in range(10):
        kept.hits["canary"] += 40
        assert run(judge, clock, kept, 1) == []
    assert "waits for 20 images that the canary has to compute" in place.read().state.reason
    assert run(judge, clock, kept, 1) == [Action.STEP]


def test_a_third_variant_keeps_its_callers_whatever_becomes_of_the_canary(page, place) -> None:
    kept, port = page
    third = '[[variants]]\nname = "trial"\naddress = "127.0.0.1:3"\nweight = 0.25\n'
    place.path.write_text(TABLE.replace("weight = 1.0", "weight = 0.75") + third)
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 12) == [Action.START, Action.STEP, Action.STEP, Action.FINISH]
    assert place.read().table.shares == {"stable": 0, "canary": 0.75, "trial": 0.25}
    assert place.read().state.reason == "all steps are done at 75.0%"
    assert run(judge, clock, kept, 2, failing=30) == [Action.ROLL_BACK]
    assert place.read().table.shares == {"stable": 0.75, "canary": 0, "trial": 0.25}
