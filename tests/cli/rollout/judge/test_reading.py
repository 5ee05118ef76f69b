"""What a judge reads off the metrics page of a gateway, and what has risen from one page to the next."""

from __future__ import annotations

from cli.rollout.judge.guardrails import Limits, broken
from cli.rollout.judge.reading import Counts, Reading, Readings, Window, read
from serving.telemetry.scrape import parse


def page(errors: int = 0, fallbacks: int = 0, degraded: int = 0, **answers: int) -> Reading:
    """What a gateway says of a canary; `answers` by how the cache took part in them."""
    lines = ["# TYPE ferry_variant_errors counter"]
    for code in ("DEADLINE_EXCEEDED", "INVALID_ARGUMENT"):
        lines.append(f'ferry_variant_errors_total{{variant="canary",code="{code}"}} {errors}')
    lines += [
        "# TYPE ferry_variant_fallbacks counter",
        f'ferry_variant_fallbacks_total{{variant="canary"}} {fallbacks}',
    ]
    lines += ["# TYPE ferry_variant_degraded counter", f'ferry_variant_degraded_total{{variant="canary"}} {degraded}']
    lines.append("# TYPE ferry_prediction_latency_seconds histogram")
    for cache, count in answers.items():
        labels = f'variant="canary",cache="{cache}"'
        for le in ("0.1", "+Inf"):
            lines.append(f'ferry_prediction_latency_seconds_bucket{{{labels},le="{le}"}} {count}')
    return read(parse("gateway:9090", "\n".join(lines) + "\n"))


def risen(*pages: Reading) -> Counts:
    """What the last page counts more than the one before."""
    window = Window(60)
    for now, one in enumerate(pages):
        step = window.add(now, Readings({"gateway:9090": one}))
    return step.get("canary", Counts())


def test_a_lost_canary_fails_its_callers_however_many_errors_it_had_before() -> None:
    """It is not even asked any more, so that its errors stand still while stable answers all of its callers."""
    lost = risen(page(500, 0, miss=100_000), page(500, 400, miss=100_000))
    assert (lost.failed, lost.tried) == (400, 400)
    assert broken(lost, Counts(answered=1000), Limits())
    before = risen(page(500, 900, miss=100_000), page(530, 900, miss=100_370))
    assert before.failed == 30, "nor do former fall backs hide new errors"


def test_an_error_that_stable_was_asked_after_is_one_failure() -> None:
    assert risen(page(0, 0, miss=100), page(7, 7, miss=113)).failed == 7


def test_fall_backs_that_went_back_are_those_of_another_process() -> None:
    assert risen(page(10, 90, miss=1000), page(10, 3, miss=1100)) == Counts()


def test_a_canary_whose_cache_is_empty_is_not_worse_for_it() -> None:
    """Of 10,000 images each: both fail with 6 % of what they compute, and of the rest a tenth is degraded."""
    stable = risen(page(hit=0), page(120, degraded=188, hit=8000, miss=1400, coalesced=280, bypass=200))
    canary = risen(page(hit=0), page(540, 540, degraded=846, hit=1000, miss=8460))
    assert (stable.tried, canary.tried) == (2000, 9000)
    assert not broken(canary, stable, Limits())
    assert "errors" in broken(risen(page(hit=0), page(1000, hit=1000, miss=8000)), stable, Limits())
    worse = risen(page(hit=0), page(degraded=1800, hit=1000, miss=9000))
    assert "degraded" in broken(worse, stable, Limits())


def test_what_stable_had_in_its_cache_hides_no_failure_of_a_canary_nor_its_own() -> None:
    """A lost canary's callers find most answers in stable's cache: those are no images of stable that did not fail."""
    stable = risen(page(hit=0), page(20, hit=20_000, miss=980))
    assert (stable.failed, stable.tried) == (20, 1000)
    assert broken(risen(page(miss=0), page(fallbacks=400, miss=0)), stable, Limits())
