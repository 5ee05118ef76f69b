"""A recipe that trains in seconds."""

from __future__ import annotations

from modelkit.training.recipes import Recipe

TINY = Recipe(
    name="tiny",
    description="A network for tests.",
    gate=0.3,
    architecture="iresnet",
    options={"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "dropout": 0.1, "scale": 8.0},
    input_size=48,
    mean=0.5,
    std=0.25,
    epochs=3,
    batch_size=32,
    margin=0.1,
    mixup=0.2,
)
