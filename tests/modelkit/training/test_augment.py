from __future__ import annotations

import pytest
import torch

from modelkit.training.augment import Augmentation, augment

pytestmark = pytest.mark.toolchain


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (64, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def views(images: torch.Tensor, ranges: Augmentation, seed: int = 1, size: int = 48) -> torch.Tensor:
    return augment(images, size, ranges, torch.Generator().manual_seed(seed))


def test_shape_and_range(images: torch.Tensor) -> None:
    result = views(images, Augmentation(), size=64)
    assert result.shape == (64, 1, 64, 64)
    assert result.dtype == torch.float32
    assert 0 <= result.min() <= result.max() <= 1


def test_seed_decides(images: torch.Tensor) -> None:
    assert torch.equal(views(images, Augmentation()), views(images, Augmentation()))
    assert not torch.equal(views(images, Augmentation()), views(images, Augmentation(), seed=2))


def test_without_strength_only_the_mirror_is_left(images: torch.Tensor) -> None:
    result = views(images, Augmentation().scaled(0))[:, 0]
    plain = images.float() / 255
    same = (result - plain).abs().amax(dim=(1, 2)) < 1e-3
    mirrored = (result - plain.flip(2)).abs().amax(dim=(1, 2)) < 1e-3
    assert (same ^ mirrored).all()
    assert 16 < int(same.sum()) < 48
