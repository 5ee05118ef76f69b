"""What a classifier is to answer."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from modelkit.data.expressions import ExpressionSet  # noqa: E402
from modelkit.training.targets import judge, loss, softened, targets  # noqa: E402
from tests.modelkit.recipe import TINY  # noqa: E402

pytestmark = pytest.mark.toolchain

TWO = TINY.with_changes(heads=2, label_weight=0.4, label_smoothing=0.1, teacher_share=0.5)


def pictures(labels: list[int], votes: list[list[int]]) -> ExpressionSet:
    names = tuple(str(i) for i in range(len(labels)))
    images = np.zeros((len(labels), 48, 48), np.uint8)
    return ExpressionSet(images, np.array(labels), names, np.array(votes, np.int64))


ANGRY_TO_ALL = [0, 0, 0, 0, 10, 0, 0, 0, 0, 0]
UNKNOWN_TO_HALF = [5, 0, 0, 0, 0, 0, 0, 0, 5, 0]
NO_VOTES = [0] * 10


def test_each_head_has_its_own_target_and_its_own_weight() -> None:
    wanted = targets(pictures([0, 5, -1], [ANGRY_TO_ALL, UNKNOWN_TO_HALF, NO_VOTES]), None, TWO, plain=True)
    votes, labels = wanted.unflatten(1, (2, 7)).unbind(dim=1)
    assert votes.sum(dim=1).tolist() == pytest.approx([1, 0.5, 0])
    assert labels.sum(dim=1).tolist() == pytest.approx([0.4, 0.4, 0])
    assert votes[0, 0] == 1
    assert labels[1].argmax() == 5


def test_one_head_learns_labels_alone() -> None:
    wanted = targets(pictures([0, 5], [ANGRY_TO_ALL, UNKNOWN_TO_HALF]), None, TINY.with_changes(heads=1), plain=True)
    assert wanted.argmax(dim=1).tolist() == [0, 5]
    assert wanted.shape == (2, 7)


def test_teachers_soften_what_was_said_and_speak_alone_where_nothing_was() -> None:
    wanted = targets(pictures([0, -1], [ANGRY_TO_ALL, NO_VOTES]), None, TWO, plain=True)
    result = softened(wanted, torch.full((2, 7), 1 / 7), TWO).unflatten(1, (2, 7))
    assert result.sum(dim=2) == pytest.approx(torch.tensor([[1, 0.4], [1, 0.4]]))
    assert result[0, 0, 0] == pytest.approx(0.5 + 0.5 / 7)
    assert result[1, 0].tolist() == pytest.approx([1 / 7] * 7)


def test_the_loss_of_a_head_without_votes_is_nothing() -> None:
    wanted = torch.cat([torch.zeros(3, 7), torch.eye(7)[:3]], dim=1)
    logits = torch.randn(3, 14, generator=torch.Generator().manual_seed(0))
    other = torch.cat([logits[:, :7] * -3, logits[:, 7:]], dim=1)
    assert float(loss(logits, wanted)) == pytest.approx(float(loss(other, wanted)))


def test_two_heads_are_judged_by_what_the_crowd_decides() -> None:
    answers = np.zeros((3, 14), np.float32)
    answers[:, 0] = 9
    data = pictures([1, 1, 1], [ANGRY_TO_ALL, UNKNOWN_TO_HALF, NO_VOTES])
    assert judge(answers, data)[1] == 1.0
    assert judge(answers[:, :7], data)[1] == 0.0
