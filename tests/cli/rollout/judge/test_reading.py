"""What a judge reads off the metrics page of a gateway, and what has risen from one page to the next."""

from __future__ import annotations

from cli.rollout.judge.guardrails import Limits, broken
from cli.rollout.judge.reading import Counts, Reading, Readings, Window, read
from serving.telemetry.scrape import parse


def page(errors: int, fallbacks: int, exposures: int) -> Reading:
    text = f"""# TYPE ferry_exposures counter
ferry_exposures_total{{variant="canary",assigned="key"}} {exposures}
# TYPE ferry_variant_errors counter
ferry_variant_errors_total{{variant="canary",code="DEADLINE_EXCEEDED"}} {errors}
ferry_variant_errors_total{{variant="canary",code="INVALID_ARGUMENT"}} {errors}
# TYPE ferry_variant_fallbacks counter
ferry_variant_fallbacks_total{{variant="canary"}} {fallbacks}
"""
    return read(parse("gateway:9090", text))


def risen(*pages: Reading) -> Counts:
    """What the last page counts more than the one before."""
    window = Window(60)
    for now, one in enumerate(pages):
        step = window.add(now, Readings({"gateway:9090": one}))
    return step.get("canary", Counts())


def test_a_lost_canary_fails_its_callers_however_many_errors_it_had_before() -> None:
    """It is not even asked any more, so that its errors stand still while stable answers all of its callers."""
    lost = risen(page(500, 0, 100_000), page(500, 400, 100_400))
    assert lost.failed == 400
    assert broken(lost, Counts(asked=1000, answered=1000), Limits())
    before = risen(page(500, 900, 100_000), page(530, 900, 100_400))
    assert before.failed == 30, "nor do former fall backs hide new errors"


def test_an_error_that_stable_was_asked_after_is_one_failure() -> None:
    assert risen(page(0, 0, 100), page(7, 7, 120)).failed == 7


def test_fall_backs_that_went_back_are_those_of_another_process() -> None:
    assert risen(page(10, 90, 1000), page(10, 3, 1100)) == Counts()
