"""The loss of distributions: where a face is one single class, it is Ultralytics' own."""

import pytest
import torch

from modelkit.detector.loss import SoftAssigner, SoftLoss
from modelkit.detector.network import build

pytestmark = pytest.mark.toolchain


def test_the_targets_of_a_face_share_its_score_as_its_expression_does() -> None:
    class Agnostic:
        def __call__(self, scores, boxes, anchors, labels, truth, mask):  # type: ignore[no-untyped-def]
            assert torch.allclose(scores[0, :, 0], torch.tensor([0.6, 1.0]))
            assert not labels.any()
            target = torch.tensor([[[0.8], [0.0]]])
            return labels, boxes, target, target[..., 0] > 0, torch.tensor([[1, 0]])

    assigner = SoftAssigner(Agnostic())
    assigner.expressions = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    scores, rows = torch.tensor([[[0.2, 0.4], [0.7, 0.9]]]), torch.tensor([[[0.0], [1.0]]])
    nothing = torch.zeros(1, 2, 4)
    *_, target, foreground, _ = assigner(scores, nothing, nothing, rows, nothing, nothing)
    assert torch.allclose(target, torch.tensor([[[0.2, 0.6], [0.0, 0.0]]]))
    assert foreground.tolist() == [[True, False]]


def test_with_one_class_it_is_ultralytics_own() -> None:
    torch.manual_seed(0)
    net = build("yolo11n", classes=1).train()
    theirs = net.init_criterion()
    predictions = net(torch.rand(3, 3, 64, 64))
    index, boxes = (
        torch.tensor([0, 0, 2]),
        torch.tensor([[0.3, 0.3, 0.3, 0.4], [0.7, 0.6, 0.3, 0.4], [0.5, 0.5, 0.6, 0.9]]),
    )
    expected, _ = theirs(predictions, {"batch_idx": index.float(), "cls": torch.zeros(3, 1), "bboxes": boxes})
    assert torch.allclose(SoftLoss(net)(predictions, index, boxes, torch.ones(3, 1)), expected)


def test_pictures_without_faces_have_a_loss() -> None:
    net = build("yolo11n").train()
    losses = SoftLoss(net)(
        net(torch.rand(2, 3, 64, 64)), torch.empty(0, dtype=torch.long), torch.empty(0, 4), torch.empty(0, 7)
    )
    assert torch.isfinite(losses).all()
    assert losses[1] > 0
