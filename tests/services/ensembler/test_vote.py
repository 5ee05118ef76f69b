"""The vote, by hand and by its laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ensembler.vote import hard_vote, shares, soft_vote

Vote = Callable[[np.ndarray, np.ndarray], np.ndarray]


def opinions_of(seed: int, models: int, faces: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(7), (models, faces)).astype(np.float32)


def one_hot(column: int, probability: float) -> np.ndarray:
    row = np.full(7, (1 - probability) / 6, np.float32)
    row[column] = probability
    return row


def test_soft_vote_is_the_weighted_mean() -> None:
    opinions = np.stack([[one_hot(0, 0.7)], [one_hot(1, 1.0)]])
    fused = soft_vote(opinions, np.array([3, 1], np.float32))
    assert fused[0, 0] == pytest.approx(0.75 * 0.7)
    assert fused[0, 1] == pytest.approx(0.75 * 0.05 + 0.25)


def test_hard_vote_counts_weights_of_first_choices() -> None:
    opinions = np.stack([[one_hot(0, 0.99)], [one_hot(1, 0.4)], [one_hot(1, 0.4)]])
    weights = np.array([0.4, 0.3, 0.3], np.float32)
    assert soft_vote(opinions, weights)[0].argmax() == 0
    assert hard_vote(opinions, weights)[0].argmax() == 1


def test_tie_of_a_hard_vote_goes_to_the_surer() -> None:
    opinions = np.stack([[one_hot(2, 0.5)], [one_hot(5, 0.9)]])
    assert hard_vote(opinions, np.array([1, 1], np.float32))[0].argmax() == 5


@pytest.mark.parametrize("vote", [soft_vote, hard_vote])
def test_silent_models_leave_their_weight_to_the_others(vote: object) -> None:
    opinions = opinions_of(0, 3, 2)
    opinions[1, 0] = np.nan
    weights = np.array([0.4, 0.4, 0.2], np.float32)
    fused = vote(opinions, weights)  # type: ignore[operator]
    alone = vote(opinions[[0, 2]][:, :1], weights[[0, 2]])  # type: ignore[operator]
    np.testing.assert_allclose(fused[0], alone[0], rtol=1e-5)
    np.testing.assert_allclose(shares(opinions, weights)[:, 0], [2 / 3, 0, 1 / 3], rtol=1e-6)


def test_nobody_with_an_opinion_is_nobody_with_a_share() -> None:
    opinions = np.full((2, 1, 7), np.nan, np.float32)
    assert shares(opinions, np.ones(2, np.float32)).sum() == 0


def test_weightless_model_speaks_when_it_is_the_only_one() -> None:
    opinions = opinions_of(1, 2, 1)
    opinions[0] = np.nan
    np.testing.assert_allclose(soft_vote(opinions, np.array([1, 0], np.float32)), opinions[1], rtol=1e-5)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    weights=st.lists(st.floats(0, 1e3, width=32), min_size=2, max_size=5).filter(lambda w: sum(w) > 1e-3),
    order=st.randoms(),
)
def test_laws(seed: int, weights: list[float], order: object) -> None:
    opinions, w = opinions_of(seed, len(weights), 3), np.array(weights, np.float32)
    permutation = list(range(len(weights)))
    order.shuffle(permutation)  # type: ignore[attr-defined]
    for vote in (soft_vote, hard_vote):
        fused = vote(opinions, w)
        np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-5)
        assert (fused >= 0).all()
        np.testing.assert_allclose(vote(opinions[permutation], w[permutation]), fused, atol=1e-5)
        np.testing.assert_allclose(vote(opinions, w * 7), fused, atol=1e-5)
    extra = np.concatenate([opinions, opinions_of(seed + 1, 1, 3)])
    np.testing.assert_allclose(soft_vote(extra, np.append(w, np.float32(0))), soft_vote(opinions, w), atol=1e-5)


def test_a_tie_is_decided_among_those_who_tie() -> None:
    opinions = np.array([[[0.40, 0, 0.39, 0.21, 0, 0, 0]], [[0, 0.45, 0.44, 0.11, 0, 0, 0]]], np.float32)
    assert soft_vote(opinions, np.ones(2, np.float32))[0].argmax() == 2
    assert hard_vote(opinions, np.ones(2, np.float32))[0].argmax() == 1


def test_a_hair_more_weight_wins_a_hard_vote_whatever_the_probabilities() -> None:
    opinions = np.stack([[one_hot(3, 0.3)], [one_hot(5, 1.0)]])
    assert hard_vote(opinions, np.array([0.50002, 0.49998]))[0].argmax() == 3


def test_a_hard_vote_is_the_share_of_the_weights() -> None:
    opinions = np.stack([[one_hot(0, 0.3)], [one_hot(1, 0.4)], [one_hot(1, 0.9)]])
    fused = hard_vote(opinions, np.array([2, 1, 1], np.float32))
    assert fused[0] == pytest.approx([0.5, 0.5, 0, 0, 0, 0, 0], abs=1e-5)
    assert fused[0].argmax() == 1


@pytest.mark.parametrize("vote", [soft_vote, hard_vote])
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e6])
def test_only_the_ratio_of_weights_counts(vote: Vote, scale: float) -> None:
    opinions, weights = opinions_of(2, 3, 4), np.array([3.0, 2.0, 0.5])
    np.testing.assert_allclose(vote(opinions, weights * scale), vote(opinions, weights), atol=1e-6)


@pytest.mark.parametrize("vote", [soft_vote, hard_vote])
def test_without_faces_or_opinions_there_is_nothing_to_say(vote: Vote) -> None:
    weights = np.ones(3, np.float32)
    assert vote(np.zeros((3, 0, 7), np.float32), weights).shape == (0, 7)
    silent = vote(np.full((3, 2, 7), np.nan, np.float32), weights)
    assert silent.dtype == np.float32
    assert not silent.any()


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), silent=st.sets(st.tuples(st.integers(1, 3), st.integers(0, 4))))
def test_silence_is_handled_face_by_face(seed: int, silent: set[tuple[int, int]]) -> None:
    opinions, weights = opinions_of(seed, 4, 5), np.array([0.4, 0.3, 0, 0.3], np.float32)
    for model, face in silent:
        opinions[model, face] = np.nan
    for vote in (soft_vote, hard_vote):
        fused = vote(opinions, weights)
        np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-5)
        for face in range(5):
            speak = [m for m in range(4) if (m, face) not in silent]
            np.testing.assert_allclose(
                fused[face], vote(opinions[speak, face : face + 1], weights[speak])[0], atol=1e-5
            )
    fused = soft_vote(opinions, weights)
    assert (fused <= np.nanmax(opinions, axis=0) + 1e-5).all()
    assert (fused >= np.nanmin(opinions, axis=0) - 1e-5).all()
