"""Manifests for detectors that exist only in tests."""

from collections.abc import Callable
from typing import Any

import pytest

from serving.expressions import EXPRESSIONS, Expression
from serving.repository.manifest import (
    Activation,
    Color,
    DetectionSpec,
    InputSpec,
    Label,
    Manifest,
    OutputSpec,
    ScoreRule,
    Task,
)

MakeManifest = Callable[..., Manifest]


@pytest.fixture
def make_manifest() -> MakeManifest:
    """Builds a detector's manifest; by default seven labels in Ferry's order on 64 x 64 RGB input."""

    def make(
        labels: dict[str, Expression | None] | None = None,
        rule: ScoreRule = ScoreRule.MAX,
        activation: Activation = Activation.NONE,
        temperature: float = 1.0,
        threshold: float = 0.25,
        **of_input: Any,
    ) -> Manifest:
        named = labels if labels is not None else {e.value: e for e in EXPRESSIONS}
        return Manifest(
            name="detector",
            version="1",
            task=Task.DETECT,
            architecture="test",
            input=InputSpec(
                name="images", width=64, height=64, color=Color.RGB, mean=(0, 0, 0), std=(1, 1, 1), **of_input
            ),
            labels=tuple(Label(name=name, expression=expression) for name, expression in named.items()),
            output=OutputSpec(scores="output0", activation=activation, temperature=temperature),
            detection=DetectionSpec(score_rule=rule, score_threshold=threshold, iou_threshold=0.5),
            files={"model.onnx": "0" * 64},
        )

    return make
