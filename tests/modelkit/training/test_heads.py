"""Two heads that answer as one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from modelkit.training.heads import Joined, Joint, frontier  # noqa: E402

pytestmark = pytest.mark.toolchain

EVEN = (1 / 7,) * 7


class TwoHeads(torch.nn.Module):
    """Answers with its input."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        return images, None


def test_the_network_joins_as_the_record_says() -> None:
    heads = np.random.default_rng(0).normal(size=(5, 14)).astype(np.float32)
    joint = Joint(0.3, 0.5, (0.1, 0.01, 0.02, 0.3, 0.4, 0.1, 0.07))
    joined, embedding = Joined(TwoHeads(), joint)(torch.from_numpy(heads))
    assert embedding is None
    np.testing.assert_allclose(joined.numpy(), joint.logits(heads), atol=1e-6)


def test_each_end_of_the_share_is_one_head_alone() -> None:
    heads = np.random.default_rng(1).normal(size=(4, 14)).astype(np.float32)
    np.testing.assert_allclose(np.diff(Joint(0, 1, EVEN).logits(heads)), np.diff(heads[:, :7]), atol=1e-5)
    np.testing.assert_allclose(np.diff(Joint(1, 1, EVEN).logits(heads)), np.diff(heads[:, 7:]), atol=1e-5)


def test_taking_the_prior_away_finds_rare_expressions_and_the_choice_prefers_it() -> None:
    """A head that always leans towards neutral: disgust, seen rarely, is only answered without that lean."""
    rng = np.random.default_rng(2)
    seen = np.where(rng.random(400) < 0.1, 1, 4)
    prior = np.array([1e-3, 0.1, 1e-3, 1e-3, 0.9, 1e-3, 1e-3], np.float32)
    votes = np.log(prior) + 1.1 * np.eye(7)[seen] + rng.normal(scale=0.3, size=(400, 7))
    heads = np.concatenate([votes, np.zeros((400, 7))], axis=1).astype(np.float32)
    points = list(frontier(heads, seen, seen, prior))
    plain = next(point for point in points if point.joint.label_share == point.joint.prior_share == 0)
    best = max(points, key=lambda point: point.worth)
    assert plain.crowd_mean_recall < 0.6
    assert best.crowd_mean_recall > 0.9
    assert best.joint.prior_share > 0


def test_what_the_crowd_does_not_decide_is_not_counted() -> None:
    heads = np.zeros((2, 14), np.float32)
    heads[:, 3] = 5
    points = list(frontier(heads, np.array([3, -1]), np.array([0, 3]), np.full(7, 1 / 7, np.float32)))
    assert {(point.crowd_accuracy, point.label_accuracy) for point in points} == {(1.0, 0.5)}
