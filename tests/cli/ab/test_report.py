"""What the report says of made-up records, in words and by its status."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cli.ab import app, show
from cli.ab.levels import levels
from cli.ab.metric import GUARDRAILS, Metric
from cli.ab.records import Label, Records, RecordsError
from cli.ab.report import Exit, report
from cli.verdicts import NOTHING, USAGE
from tests.cli.ab.made_up import START, TABLE, cached, experiment, exposure, face, shadowed

ALL = tuple(Metric)


def judged(records: Records, metrics=ALL, **options):
    return report(records, ["canary"], "stable", metrics, **options).comparisons[0]


def test_a_better_canary_is_found_and_the_words_say_by_how_much() -> None:
    found = judged(experiment({"stable": 0.6, "canary": 0.75}))
    assert found.verdict is Exit.BETTER
    assert found.summary.startswith("canary is better than stable by 1")
    assert "points (" in found.summary
    assert "certain enough since 20" in found.summary


def test_certain_enough_since_the_first_look_from_which_the_verdict_held() -> None:
    records = experiment({"stable": 0.6, "canary": 0.75})
    since = judged(records).findings[Metric.ACCURACY].since
    assert since is not None

    def at(time: float) -> Exit:
        known = {name: one for name, one in records.exposures.items() if one.time <= time}
        return judged(replace(records, exposures=known)).verdict

    looks = 2000 / 60  # labels from one look to the next; there is one a second
    assert at(since) is Exit.BETTER
    assert at(since - 2 * looks) is Exit.UNDECIDED
    assert "since" not in judged(experiment({"stable": 0.7, "canary": 0.7})).summary


def test_a_variant_that_nobody_knows_is_named_with_those_there_are(monkeypatch) -> None:
    monkeypatch.setattr(show, "read", lambda *_: experiment({"stable": 0.6, "canary": 0.6}, 10))
    for arguments in (["--variant", "typo"], ["--against", "typo"]):
        done = CliRunner().invoke(app, ["report", "--redis-url", "redis://x", *arguments])
        assert done.exit_code == NOTHING
        assert "nothing was recorded of a variant 'typo'; there are canary, stable" in done.output


def test_a_worse_canary_is_found() -> None:
    assert judged(experiment({"stable": 0.75, "canary": 0.6})).verdict is Exit.WORSE


def test_equal_variants_have_no_verdict_and_the_words_say_what_is_missing() -> None:
    found = judged(experiment({"stable": 0.7, "canary": 0.7}))
    assert found.verdict is Exit.UNDECIDED
    assert "needs about" in found.summary
    assert "more labels" in found.summary


def test_labels_of_a_few_callers_are_not_said_to_need_more_labels() -> None:
    found = judged(experiment({"stable": 0.6, "canary": 0.75}, 6000, per_caller=1000))
    assert found.summary == "not decided: needs 20 callers on each side, where one has 2"
    assert found.record()["metrics"]["accuracy"]["more_labels"] is None


def test_pairs_of_a_shadow_need_few_labels() -> None:
    accuracy = {"stable": 0.6, "canary": 0.68}
    found = judged(shadowed(accuracy, 600))
    assert found.findings[Metric.ACCURACY].paired
    assert found.verdict is Exit.BETTER
    assert judged(experiment(accuracy, 600)).verdict is Exit.UNDECIDED, "as many labels without pairs"
    agreement = found.findings[Metric.AGREEMENT]
    assert agreement.new == pytest.approx(0.92, abs=0.03)
    assert "same expression on 9" in agreement.words


def test_a_pair_of_another_answer_with_the_same_id_counts_nothing() -> None:
    records = shadowed({"stable": 0.6, "canary": 0.68}, 600)
    others = [
        replace(pair, matched=((0, (*face(7)[:1], 1, *face(7)[2:]), pair.matched[0][2]),))
        for pair in records.pairs[:300]
    ]
    others += [replace(pair, caller="somebody else") for pair in records.pairs[300:600]]
    assert not judged(replace(records, pairs=others)).findings[Metric.ACCURACY].paired


def test_a_few_busy_callers_are_not_many_labels() -> None:
    accuracy = {"stable": 0.6, "canary": 0.75}
    assert judged(experiment(accuracy, 2000, per_caller=200)).verdict is Exit.UNDECIDED
    assert judged(experiment(accuracy, 2000, per_caller=10)).verdict is Exit.BETTER


def test_callers_in_other_shares_than_were_set_block_the_verdict() -> None:
    records = experiment({"stable": 0.6, "canary": 0.75})
    wrong = replace(records, tables={"t": {"stable": 0.7, "canary": 0.3}})
    found = judged(wrong)
    assert found.verdict is Exit.UNDECIDED
    assert "in the shares that were set" in found.summary
    assert "expected" in found.summary


def test_a_canary_that_grows_while_pictures_become_harder_is_not_worse_for_it() -> None:
    """As under a judge: first few callers and easy pictures, then half of them and hard ones."""
    easy, hard = (experiment({"stable": 1 - wrong, "canary": 1 - wrong}, 4000, seed=1) for wrong in (0.1, 0.4))
    few = {name: one for name, one in easy.exposures.items() if one.assigned == "stable" or int(name[2:]) % 50 == 1}
    early = {f"e{name}": replace(one, table="few", caller=f"e{one.caller}") for name, one in few.items()}
    late = {name: replace(one, time=one.time + 4000) for name, one in hard.exposures.items()}
    labels = {**{f"e{name}": easy.labels[name] for name in few}, **hard.labels}
    tables = {**TABLE, "few": {"stable": 50 / 52, "canary": 2 / 52}}
    found = judged(Records({**early, **late}, labels, [], tables))
    accuracy = found.findings[Metric.ACCURACY]
    assert found.verdict is Exit.UNDECIDED
    assert accuracy.new == pytest.approx(accuracy.old, abs=0.03)
    assert any("2 routing tables" in note for note in found.notes)
    lying = replace(Records({**early, **late}, labels, [], tables))
    one_table = {name: replace(one, table="t") for name, one in lying.exposures.items()}
    pooled = judged(replace(lying, exposures=one_table, tables={}))
    assert pooled.verdict is Exit.WORSE, "the test has no teeth"


def test_a_canary_that_grows_while_the_load_does_is_not_slower_for_it() -> None:
    """The same callers come back: first few of them to the canary, then half, when everybody waits longer."""
    exposures = {}
    for i in range(8000):
        late, caller = i >= 4000, i % 4000
        name = "canary" if caller % 2 and (late or caller % 40 == 1) else "stable"
        took = random.Random(i).gauss(200.0 if late else 50.0, 5.0)
        exposures[f"id{i}"] = exposure(name, f"c{caller}", START + i, table="t" if late else "few", milliseconds=took)
    tables = {**TABLE, "few": {"stable": 0.975, "canary": 0.025}}
    latency = judged(Records(exposures, {}, [], tables)).findings[Metric.LATENCY]
    assert latency.n == (2000, 2000)
    assert not latency.broken
    slow = {
        k: replace(v, milliseconds=v.milliseconds * 2) if v.assigned == "canary" else v for k, v in exposures.items()
    }
    assert judged(Records(slow, {}, [], tables)).findings[Metric.LATENCY].broken


def test_what_was_answered_while_one_had_all_callers_is_left_out_and_counted() -> None:
    records = experiment({"stable": 0.6, "canary": 0.6})
    alone = {f"x{i}": exposure("canary", f"x{i}", START + i, table="alone") for i in range(300)}
    labels = {**records.labels, **{name: {0: Label(3, START)} for name in alone}}
    tables = {**TABLE, "alone": {"stable": 0.0, "canary": 1.0}}
    found = judged(replace(records, exposures={**records.exposures, **alone}, labels=labels, tables=tables))
    assert found.findings[Metric.ACCURACY].n == (1000, 1000)
    assert found.verdict is Exit.UNDECIDED
    assert "300 observations of accuracy are left out: only one of both had callers at their time" in found.notes


def test_callers_who_come_back_under_other_shares_are_no_new_evidence() -> None:
    """A deviation that chance made once is seen again under every table that follows."""
    rng = random.Random(3)
    falls = ["canary" if rng.random() < 0.53 else "stable" for _ in range(2000)]
    exposures, tables = {}, {}
    for table in range(12):
        share = 0.5 + table / 1000
        tables[f"t{table}"] = {"stable": 1 - share, "canary": share}
        for i, name in enumerate(falls):
            exposures[f"{table}-{i}"] = exposure(name, f"c{i}", START + table * 1000 + i / 10, table=f"t{table}")
    found = report(Records(exposures, {}, [], tables), ["canary"], "stable", ALL)
    assert not found.ratio.refuted
    off = {name: replace(one, assigned="stable") for name, one in list(exposures.items())[::3]}
    assert report(Records({**exposures, **off}, {}, [], tables), ["canary"], "stable", ALL).ratio.refuted


def test_shares_that_redis_has_lost_are_named() -> None:
    found = judged(replace(experiment({"stable": 0.6, "canary": 0.6}), tables={}))
    assert "whether 2,000 callers fell as they should is not known: Redis has lost the shares" in found.notes


def test_a_guardrail_beats_a_better_accuracy() -> None:
    records = experiment({"stable": 0.6, "canary": 0.75}, milliseconds={"stable": 50, "canary": 90})
    found = judged(records)
    assert [one.metric for one in found.broken] == [Metric.LATENCY]
    assert found.verdict is Exit.WORSE
    assert "slower" in found.summary
    failing = judged(experiment({"stable": 0.6, "canary": 0.6}, errors={"stable": 0.0, "canary": 0.2}))
    assert Metric.ERRORS in {one.metric for one in failing.broken}


def test_a_little_slower_breaks_no_guardrail_however_sure_it_is() -> None:
    found = experiment({"stable": 0.7, "canary": 0.7}, 20000, milliseconds={"stable": 50, "canary": 52})
    latency = report(found, ["canary"], "stable", tuple(Metric)).comparisons[0].findings[Metric.LATENCY]
    assert latency.judgement.interval.low > 0
    assert not latency.broken
    assert "no difference larger than 6 ms" in latency.words


def test_a_variant_that_is_lost_fails_its_callers_whoever_answers_them() -> None:
    records = experiment({"stable": 0.6, "canary": 0.6})
    lost = {
        name: replace(one, variant="stable", fingerprint="s" * 16)
        if one.assigned == "canary" and one.time > START + 1500
        else one
        for name, one in records.exposures.items()
    }
    found = judged(replace(records, exposures=lost))
    assert found.findings[Metric.ERRORS].new == pytest.approx(0.25, abs=0.01)
    assert found.verdict is Exit.WORSE


def test_a_canary_whose_cache_is_empty_is_not_worse_for_it() -> None:
    """Stable's callers find four of five answers in the cache, and what is there can neither fail nor be degraded."""
    hits = {"stable": 0.8, "canary": 0.1}
    records = cached(hits, degraded=0.04, errors=dict.fromkeys(hits, 0.04), images=20_000)
    found = judged(records)
    assert not found.broken
    for metric in (Metric.ERRORS, Metric.DEGRADED):
        one = found.findings[metric]
        assert one.n == pytest.approx((9000, 2000), rel=0.06)
        assert (one.new, one.old) == (pytest.approx(0.04, abs=0.01), pytest.approx(0.04, abs=0.015))
    lying = {name: replace(one, cached=False) for name, one in records.exposures.items()}
    assert judged(replace(records, exposures=lying)).verdict is Exit.WORSE, "the test has no teeth"


def test_what_stable_had_in_its_cache_hides_no_failure_of_a_canary() -> None:
    hits, errors = {"stable": 0.8, "canary": 0.0}, {"stable": 0.0, "canary": 0.5}
    found = judged(cached(hits, degraded=0.0, errors=errors, images=2000))
    assert [one.metric for one in found.broken] == [Metric.ERRORS]
    assert found.findings[Metric.ERRORS].new == pytest.approx(0.5, abs=0.05)


def test_answers_by_another_variant_do_not_count_for_either() -> None:
    records = experiment({"stable": 0.6, "canary": 0.6}, errors={"stable": 0.0, "canary": 0.5})
    found = judged(records)
    assert found.findings[Metric.ACCURACY].n[1] == pytest.approx(1000, abs=5)
    assert 400 < found.findings[Metric.ACCURACY].n[0] < 600


def test_a_changed_pipeline_splits_the_record_and_is_named() -> None:
    records = experiment({"stable": 0.6, "canary": 0.6})
    old = {
        name: replace(one, fingerprint="f" * 16) if one.assigned == "canary" and one.time < START + 1000 else one
        for name, one in records.exposures.items()
    }
    found = judged(replace(records, exposures=old))
    assert found.findings[Metric.ACCURACY].n == (500, 499), "nor is what stable did before it"
    assert any("canary has another pipeline since" in note and "500" in note for note in found.notes)


def test_what_a_former_pipeline_failed_with_and_worse_days_of_stable_are_not_compared() -> None:
    """Failures name no pipeline; and before the canary began, something else may have troubled stable."""
    records = experiment({"stable": 0.6, "canary": 0.6}, labels=4000)
    former = {}
    for name, one in records.exposures.items():
        if one.time >= START + 2000:
            former[name] = one
        elif one.assigned == "canary":
            former[name] = replace(one, variant="stable", fingerprint="s" * 16, error="INTERNAL")
        else:
            former[name] = replace(one, faces=(face(7),), degraded=True)
    found = judged(replace(records, exposures=former))
    assert (found.findings[Metric.ERRORS].new, found.findings[Metric.DEGRADED].old) == (0, 0)
    assert found.findings[Metric.ACCURACY].n == (1000, 999)
    assert found.verdict is Exit.UNDECIDED


def test_variants_with_one_pipeline_keep_their_own_counts() -> None:
    records = experiment({"stable": 0.6, "canary": 0.75})
    same = {name: replace(one, fingerprint="f" * 16) for name, one in records.exposures.items()}
    found = judged(replace(records, exposures=same))
    assert found.findings[Metric.ACCURACY].n == (1000, 999)
    assert any("same pipeline" in note for note in found.notes)


def test_several_variants_share_what_may_be_wrong() -> None:
    two = experiment({"stable": 0.6, "canary": 0.7, "third": 0.6}, 3000)
    two = replace(two, tables={"t": {"stable": 1 / 3, "canary": 1 / 3, "third": 1 / 3}})
    alone = report(two, ["canary"], "stable", ALL).comparisons[0].findings[Metric.ACCURACY].judgement.interval
    both = report(two, [], "stable", ALL)
    assert [one.new for one in both.comparisons] == ["canary", "third"]
    assert both.comparisons[0].findings[Metric.ACCURACY].judgement.interval.width > alone.width


def test_guardrails_and_variants_share_what_may_be_wrong() -> None:
    for metrics in (ALL, (Metric.ERRORS, Metric.ACCURACY, Metric.DEGRADED), (Metric.ACCURACY,)):
        for variants in (1, 3):
            level = levels(metrics, 0.05, variants)
            decide = {metrics[0], *GUARDRAILS} & set(metrics)
            assert sum(level[metric] for metric in decide) * variants == pytest.approx(0.05)
    assert levels(ALL, 0.05, 1)[Metric.ACCURACY] == pytest.approx(0.04)


def test_what_was_not_recorded_is_named() -> None:
    with pytest.raises(RecordsError, match="FERRY_RECORD_EXPOSURES"):
        report(Records({}, {}, []), ["canary"], "stable", ALL)
    records = experiment({"stable": 0.6, "canary": 0.6}, 10)
    with pytest.raises(RecordsError, match="'typo'; there are canary, stable"):
        report(records, ["typo"], "stable", ALL)
    with pytest.raises(RecordsError, match="with itself"):
        report(records, ["stable"], "stable", ALL)
    with pytest.raises(RecordsError, match="only stable"):
        report(Records({"a": exposure("stable", "c", START)}, {}, [], TABLE), [], "stable", ALL)


def test_a_label_outside_the_answer_counts_nothing() -> None:
    records = Records(
        {"a": exposure("stable", "c", START)}, {"a": {7: Label(4, START)}, "gone": {0: Label(4, START)}}, []
    )
    both = replace(records, exposures={**records.exposures, "b": exposure("canary", "d", START)})
    assert judged(both).findings[Metric.ACCURACY].n == (0, 0)


@pytest.mark.parametrize(
    ("accuracy", "status"), [((0.6, 0.75), 0), ((0.7, 0.7), 1), ((0.75, 0.6), 2)], ids=["better", "equal", "worse"]
)
def test_the_command_s_status_is_for_pipelines(monkeypatch, accuracy, status) -> None:
    records = experiment(dict(zip(("stable", "canary"), accuracy, strict=True)))
    monkeypatch.setattr(show, "read", lambda *_: records)
    done = CliRunner().invoke(app, ["report", "--redis-url", "redis://x", "--json"])
    assert done.exit_code == status
    written = json.loads(done.stdout)
    assert written["comparisons"][0]["variant"] == "canary"
    assert written["comparisons"][0]["metrics"]["accuracy"]["n"] == {"variant": 1000, "against": 999}
    shown = CliRunner().invoke(app, ["report", "--redis-url", "redis://x"])
    assert shown.exit_code == status
    assert "accuracy" in shown.stdout


def test_below_the_table_stands_only_what_it_does_not_say(monkeypatch) -> None:
    equal = experiment({"stable": 0.7, "canary": 0.7}, 2000, per_caller=10)
    monkeypatch.setattr(show, "read", lambda *_: equal)
    shown = CliRunner().invoke(app, ["report", "--redis-url", "redis://x"]).stdout.splitlines()
    summary, below = shown[0], shown[8:]
    assert "needs about" in summary
    assert below[0] == "accuracy: callers: 100 / 99", "its words are the summary"
    assert below[1].startswith("macro-recall: needs about ")
    assert below[2].startswith("agreement: canary has answered no copies")
    assert not any("0.00" in line for line in below)
    alike = experiment({"stable": 0.7, "canary": 0.7}, 20000, milliseconds={"stable": 50, "canary": 52})
    monkeypatch.setattr(show, "read", lambda *_: alike)
    below = CliRunner().invoke(app, ["report", "--redis-url", "redis://x"]).stdout.splitlines()[8:]
    (latency,) = [line for line in below if line.startswith("latency")]
    assert latency.startswith("latency-p95: no difference larger than 6 ms, certain enough since ")


def test_a_picture_is_drawn(monkeypatch, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(show, "read", lambda *_: experiment({"stable": 0.6, "canary": 0.75}))
    path = tmp_path / "ab.png"
    CliRunner().invoke(app, ["report", "--redis-url", "redis://x", "--plot", str(path)])
    assert path.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--since", "2999-01-01"], "future"),
        (["--since", "yesterday"], "2d"),
        (["--since", "0001-01-01"], "2d"),
        (["--alpha", "nan"], "alpha"),
        (["--margin", "0"], "margin"),
        (["--metric", "beauty"], "beauty"),
        (["--plot", "out.txt"], ".png"),
    ],
)
def test_bad_input_is_named(arguments, word) -> None:
    done = CliRunner().invoke(app, ["report", "--redis-url", "redis://127.0.0.1:1", *arguments])
    assert done.exit_code == USAGE
    assert word in done.output


def test_without_a_redis_there_is_no_report() -> None:
    done = CliRunner().invoke(app, ["report", "--redis-url", "redis://127.0.0.1:1"])
    assert done.exit_code == NOTHING
    assert CliRunner().invoke(app, ["report", "--redis-url", "nonsense"]).exit_code == 64
