from __future__ import annotations

import pytest
import torch
from torch import nn

from modelkit.networks.depthwise import DepthwiseConv2d, quicken

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (5, 0), (3, 0)])
@pytest.mark.parametrize("side", [5, 8, 9])
def test_answer_and_gradients_are_those_of_the_plain_convolution(
    stride: int, kernel: int, padding: int, side: int
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False)
    quick = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False)
    quick.load_state_dict(plain.state_dict())
    assert type(quicken(quick)) is DepthwiseConv2d
    results = []
    for layer in (plain, quick):
        x = torch.randn(2, 6, side, side + 1, generator=torch.Generator().manual_seed(1)).requires_grad_()
        answer = layer(x)
        answer.square().sum().backward()
        results.append((answer, x.grad, layer.weight.grad))
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_kernel_larger_than_the_map() -> None:
    torch.manual_seed(0)
    layer = quicken(nn.Conv2d(3, 3, 5, 1, 2, groups=3, bias=False))
    layer(torch.randn(2, 3, 1, 1)).sum().backward()
    outside = layer.weight.grad.clone()
    outside[:, :, 2, 2] = 0
    assert (outside == 0).all()
    assert (layer.weight.grad[:, :, 2, 2] != 0).all()


def test_other_convolutions_stay() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 3, groups=8))
    assert [type(layer) for layer in quicken(network)] == [nn.Conv2d] * 3
