from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelkit.data.expressions import ExpressionSet, read_expressions
from modelkit.data.near_duplicates import LEAK, SAME, conflicting, correlated_pairs, groups
from modelkit.data.selection import select
from tests.modelkit.pictures import crops

pytestmark = pytest.mark.toolchain


def test_copies_are_found_mirrored_and_relit_and_noisy() -> None:
    images, _ = crops(3, seed=5)
    noise = np.random.default_rng(0).normal(0, 8, images.shape[1:])
    copies = np.stack(
        [images[0], images[1, :, ::-1], (images[2] * 0.5 + 60).astype(np.uint8), (images[3] + noise).clip(0, 255)]
    ).astype(np.uint8)
    pairs, values = correlated_pairs(copies, images, LEAK)
    assert pairs.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert (values >= LEAK).all()


def test_picture_of_one_tone_resembles_nothing() -> None:
    flat = np.full((2, 48, 48), 90, np.uint8)
    assert len(correlated_pairs(flat, flat, SAME)[0]) == 0
    assert groups(flat).tolist() == [0, 1]


def test_groups_join_all_copies_of_a_picture() -> None:
    images, _ = crops(2, seed=6)
    stack = np.concatenate([images[:3], images[1:2], images[1:2, :, ::-1]])
    assert groups(stack).tolist() == [0, 1, 2, 1, 1]


def test_conflicting_marks_every_copy_of_a_disputed_picture() -> None:
    labels = np.array([0, 1, 2, 3, 2])
    data = ExpressionSet(np.zeros((5, 48, 48), np.uint8), labels, tuple("abcde"))
    assert conflicting(np.array([0, 1, 2, 1, 2]), data).tolist() == [False, True, False, True, False]


def test_selection_drops_copies_of_evaluation_pictures(data: Path, tmp_path: Path) -> None:
    selection = select(data, "public_test", tmp_path / "cache")
    test = read_expressions(data, "public_test")
    used = np.concatenate([selection.train.images, selection.validation.images])
    assert selection.counts.near_duplicates_of_evaluation == 3
    assert len(correlated_pairs(used, test.images, LEAK)[0]) == 0
    assert selection.counts.train + selection.counts.held_back == 137
    assert not set(selection.train.names) & set(selection.validation.names)


def test_selection_is_the_same_from_the_cache(data: Path, tmp_path: Path) -> None:
    first, second = (select(data, "public_test", tmp_path / "cache") for _ in range(2))
    assert first.train.names == second.train.names
    assert first.counts == second.counts
