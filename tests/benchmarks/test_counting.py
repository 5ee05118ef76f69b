"""An image costs no more calls and no more memory than expected. `ferry bench counting` prints and rewrites both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.counting.command import exceeded, read
from benchmarks.counting.count import Count, measure

MODELS = Path(__file__).parent.parent.parent / "models"


@pytest.mark.slow
@pytest.mark.e2e
def test_an_image_costs_no_more_than_expected() -> None:
    expected, counted = read(), measure(MODELS)
    assert counted.keys() == expected.keys()
    grown = {name: said for name, count in counted.items() if (said := exceeded(count, expected[name]))}
    assert not grown, f"{grown}; where there is a reason: ferry bench counting --write"
    unseen = [name for name, count in counted.items() if count.calls < 0.75 * expected[name].calls]
    assert not unseen, f"{unseen} take much less: ferry bench counting --write, unless only a part was counted"


def test_growth_beyond_the_tolerance_is_named() -> None:
    usual = Count(100, 1000)
    assert exceeded(replace(usual, calls=108), usual) == []
    assert exceeded(replace(usual, calls=130), usual) == ["calls +30%"]
    assert exceeded(replace(usual, kilobytes=2000), usual) == ["kilobytes +100%"]
    assert exceeded(Count(10, 10), usual) == []
