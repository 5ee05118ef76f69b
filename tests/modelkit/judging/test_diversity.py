from __future__ import annotations

import numpy as np
import pytest

from modelkit.judging.diversity import diversity

SURE = np.eye(7, dtype=np.float32)


def test_every_two_models_are_laid_side_by_side() -> None:
    labels = np.array([0, 1, 2, 3, -1])
    answers = {"a": SURE[[0, 1, 5, 5, 0]], "b": SURE[[0, 6, 5, 6, 1]], "c": SURE[[0, 1, 2, 3, 4]].copy()}
    answers["c"][0] = np.nan
    (ab, ac, bc) = diversity(answers, labels)
    assert (ab.models, ac.models, bc.models) == (("a", "b"), ("a", "c"), ("b", "c"))
    assert (ab.disagreement, ab.double_fault) == pytest.approx((0.5, 0.5))
    assert (ac.disagreement, ac.double_fault) == pytest.approx((0.75, 0.0))
