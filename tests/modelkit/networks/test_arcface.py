from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from modelkit.networks.architectures import Symmetric, build

pytestmark = pytest.mark.toolchain

TINY = {"widths": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "scale": 16.0}


def test_margin_lowers_the_targets_logit_only() -> None:
    torch.manual_seed(0)
    network = build("iresnet", 7, 48, TINY).eval()
    images = torch.randn(4, 1, 48, 48)
    targets = functional.one_hot(torch.tensor([0, 3, 6, 3]), 7).float()
    plain = network.training_logits(images, targets, 0.0)
    torch.testing.assert_close(plain, network(images)[0], rtol=1e-3, atol=1e-3)
    widened = network.training_logits(images, targets, 0.3)
    changed = (widened - plain).abs() > 1e-3
    assert torch.equal(changed, targets.bool())
    assert (widened <= plain + 1e-4).all()


def test_embeddings_have_length_one_and_logits_stay_within_the_scale() -> None:
    torch.manual_seed(0)
    logits, embedding = build("iresnet", 7, 48, TINY).eval()(torch.randn(4, 1, 48, 48) * 50)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
    assert embedding.shape == (4, 512)
    assert logits.abs().max() <= 16.0


def test_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="iresnet, face-mobilenet, timm:<name>"):
        build("perceptron", 7, 48, {})


def test_symmetric_network_answers_a_face_as_its_mirror_image() -> None:
    torch.manual_seed(0)
    network = build("iresnet", 7, 48, TINY).eval()
    images = torch.randn(3, 1, 48, 48)
    logits, embedding = Symmetric(network)(images)
    mirrored_logits, mirrored_embedding = Symmetric(network)(images.flip(3))
    torch.testing.assert_close(logits, mirrored_logits)
    torch.testing.assert_close(embedding, mirrored_embedding)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(logits, (network(images)[0] + network(images.flip(3))[0]) / 2)
