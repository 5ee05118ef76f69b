"""Growth is told from noise by the error of the slope."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak.slope import fit

SECONDS = list(range(0, 1800, 10))


def test_growth_is_found_with_its_size() -> None:
    noise = np.random.default_rng(1).normal(0, 2, len(SECONDS))
    slope = fit(SECONDS, [100 + second / 3600 * 50 + n for second, n in zip(SECONDS, noise, strict=True)])
    assert slope.an_hour == pytest.approx(50, abs=3 * slope.error)
    assert slope.grows


def test_noise_and_a_trifle_are_no_growth() -> None:
    noise = np.random.default_rng(2).normal(0, 2, len(SECONDS))
    assert not fit(SECONDS, list(100 + noise)).grows
    assert not fit(SECONDS, [100 + second / 3600 for second in SECONDS]).grows
    with pytest.raises(ValueError, match="three readings"):
        fit([0, 1], [1, 2])
