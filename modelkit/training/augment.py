"""Random views of face crops, a whole batch at a time.

One `grid_sample` does mirror, rotation, scale, shift and the resize to the network's input; light and
erasing follow. Vectorised, so that one CPU thread keeps up with training and no loader process is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from modelkit.training.degrade import compressed, shrunk

Uniform = Callable[[float, float], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random views; every range is symmetric around "unchanged"."""

    rotation: float = 12.0  # degrees
    scale: float = 0.15  # share of the side
    stretch: float = 0.06  # aspect ratio, share
    shift: float = 0.10  # share of the side
    brightness: float = 0.2  # of the full range
    contrast: float = 0.35  # share
    gamma: float = 0.3  # natural logarithm
    blur: float = 0.15  # probability of a 3x3 blur
    erase: float = 0.5  # probability of one erased rectangle
    small: float = 0.0  # probability of having been a smaller picture
    smallest: float = 24.0  # pixels, of such a picture's side
    jpeg: float = 0.0  # probability of having been a JPEG
    quality: tuple[float, float] = (20.0, 90.0)  # of such a JPEG
    light: float = 0.0  # of the full range: light that falls from one side, at the picture's edge
    noise: float = 0.0  # of the full range: largest standard deviation
    erase_side: tuple[float, float] = (0.15, 0.45)  # share of the side

    def scaled(self, strength: float) -> Self:
        """The same ranges, each but sizes and qualities multiplied by `strength`."""
        names = [item.name for item in fields(self) if item.name not in {"erase_side", "smallest", "quality"}]
        return replace(self, **{name: getattr(self, name) * strength for name in names})


def augment(images: Tensor, size: int, ranges: Augmentation, generator: torch.Generator) -> Tensor:
    """Draws one random view of each image.

    Args:
        images: uint8 [B, H, W], grey.
        size: side of the result in pixels.
        ranges: how strong.
        generator: the only source of randomness; on the images' device.

    Returns:
        float32 [B, 1, size, size] in [0, 1].
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator, device=device) * (high - low) + low

    angle = torch.deg2rad(uniform(-ranges.rotation, ranges.rotation))
    scale = torch.exp(uniform(-ranges.scale, ranges.scale))
    stretch = torch.exp(uniform(-ranges.stretch, ranges.stretch))
    mirror = torch.sign(uniform(-1, 1))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = 2 * ranges.shift
    affine = torch.stack(
        [
            torch.stack([cos * mirror * stretch, -sin * stretch, uniform(-shift, shift)], dim=1),
            torch.stack([sin * mirror / stretch, cos / stretch, uniform(-shift, shift)], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(affine, [count, 1, size, size], align_corners=False)
    source = _degrade(images[:, None].float() / 255, uniform, ranges)
    views = functional.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if ranges.blur:
        soft = functional.avg_pool2d(functional.pad(views, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        views = torch.where((uniform(0, 1) < ranges.blur).view(-1, 1, 1, 1), soft, views)
    views = _relight(views, uniform, ranges)
    if ranges.noise:
        level = uniform(0, ranges.noise).view(-1, 1, 1, 1)
        views = views + torch.randn(views.shape, generator=generator, device=device) * level
        views = views.clamp(0, 1)
    return _erase(views, uniform, ranges, generator)


def _degrade(source: Tensor, uniform: Uniform, ranges: Augmentation) -> Tensor:
    size = source.shape[-1]
    if ranges.small:
        sides = torch.where(uniform(0, 1) < ranges.small, uniform(ranges.smallest, size), torch.tensor(float(size)))
        source = shrunk(source, sides.long())
    if ranges.jpeg:
        quality = torch.where(uniform(0, 1) < ranges.jpeg, uniform(*ranges.quality), torch.tensor(100.0))
        source = compressed(source, quality)
    return source


def _relight(views: Tensor, uniform: Uniform, ranges: Augmentation) -> Tensor:
    gamma = torch.exp(uniform(-ranges.gamma, ranges.gamma)).view(-1, 1, 1, 1)
    contrast = torch.exp(uniform(-ranges.contrast, ranges.contrast)).view(-1, 1, 1, 1)
    brightness = uniform(-ranges.brightness, ranges.brightness).view(-1, 1, 1, 1)
    views = views.clamp(1e-4, 1).pow(gamma)
    mean = views.mean(dim=(2, 3), keepdim=True)
    if ranges.light:
        brightness = brightness + _slope(views.shape[-1], uniform, ranges.light).to(views.device)
    return ((views - mean) * contrast + mean + brightness).clamp(0, 1)


def _slope(size: int, uniform: Uniform, light: float) -> Tensor:
    """float32 [B, 1, size, size]: a plane through zero in the middle, in a random direction."""
    angle, strength = uniform(0, 2 * math.pi), uniform(0, light)
    at = torch.linspace(-1, 1, size, device=angle.device)
    x, y = (torch.cos(angle) * strength).view(-1, 1, 1, 1), (torch.sin(angle) * strength).view(-1, 1, 1, 1)
    return x * at + y * at.view(-1, 1)


def _erase(views: Tensor, uniform: Uniform, ranges: Augmentation, generator: torch.Generator) -> Tensor:
    size = views.shape[-1]
    low, high = ranges.erase_side
    width, height = uniform(low, high), uniform(low, high)
    left, top = uniform(0, 1) * (1 - width), uniform(0, 1) * (1 - height)
    at = (torch.arange(size, device=views.device) + 0.5) / size
    columns = (at >= left[:, None]) & (at < (left + width)[:, None])
    rows = (at >= top[:, None]) & (at < (top + height)[:, None])
    chosen = uniform(0, 1) < ranges.erase
    hole = (rows[:, :, None] & columns[:, None, :] & chosen[:, None, None])[:, None]
    noise = torch.rand(views.shape, generator=generator, device=views.device)
    return torch.where(hole, noise, views)
