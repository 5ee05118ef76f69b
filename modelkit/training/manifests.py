"""The manifest of a classifier, from its recipe."""

from __future__ import annotations

from typing import Any

from modelkit.data.framing import CROP_MARGIN
from modelkit.training.recipes import Recipe
from serving.expressions import EXPRESSIONS
from serving.repository.manifest import Activation, Color, InputSpec, Label, Manifest, OutputSpec, Task

INPUT, LOGITS, EMBEDDING = "images", "logits", "embedding"


def input_spec(recipe: Recipe) -> InputSpec:
    """How crops become this classifier's input."""
    return InputSpec(
        name=INPUT,
        width=recipe.input_size,
        height=recipe.input_size,
        color=Color.GREY,
        mean=(recipe.mean,),
        std=(recipe.std,),
        resize="bilinear",
        crop_margin=CROP_MARGIN,
    )


def classifier_manifest(
    recipe: Recipe,
    version: str,
    files: dict[str, str],
    *,
    temperature: float,
    embedding: bool,
    training: dict[str, Any],
    evaluation: dict[str, Any],
) -> Manifest:
    """A complete manifest.

    Args:
        recipe: how the model was made.
        version: decimal number.
        files: file name to SHA-256; `model.onnx` among them.
        temperature: fitted on held-back data.
        embedding: whether the graph has an embedding output.
        training: see `modelkit.publishing.record`.
        evaluation: figures of `ferry models evaluate`, by split.
    """
    return Manifest(
        name=recipe.name,
        version=version,
        task=Task.CLASSIFY,
        architecture=recipe.architecture,
        description=recipe.description,
        license=recipe.license,
        input=input_spec(recipe),
        labels=tuple(Label(name=expression.value, expression=expression) for expression in EXPRESSIONS),
        output=OutputSpec(
            scores=LOGITS,
            activation=Activation.SOFTMAX,
            embedding=EMBEDDING if embedding else None,
            temperature=temperature,
        ),
        precision="fp16 weights, fp32 compute",
        files=files,
        training=training,
        evaluation=evaluation,
    )
