"""What published models say of crops, through the code that serves them, and what their vote is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.judging.detection import Detector, crop_probabilities
from modelkit.judging.metrics import expression_metrics
from modelkit.judging.pictures import by_side
from services.classifier.probabilities import probabilities
from services.classifier.views import make_views, mean_over_views
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from services.ensembler.vote import soft_vote
from serving.expressions import EXPRESSIONS
from serving.models.backends import Backend, load_backend
from serving.preprocess import prepare
from serving.repository.manifest import Manifest, Task
from serving.repository.repository import StoredModel

BATCH = 64


def vote_weights() -> dict[str, float]:
    """Model to weight, as the ensembler's default recipe has it."""
    recipe = read_recipe(DEFAULT_RECIPE)
    names = [*(entry.name for entry in recipe.classifiers), recipe.detector.name]
    return dict(zip(names, recipe.weights, strict=True))


def judge_pictures(
    model: StoredModel, crops: Sequence[npt.NDArray[np.uint8]], *, tta: bool = False, threads: int = 1
) -> npt.NDArray[np.float32]:
    """What a published model that has an opinion on expressions says of crops of any size.

    Args:
        model: the version.
        crops: N of them, uint8 [s, s, 3], RGB.
        tta: classifiers: average over the default views.
        threads: of the model's runtime.

    Returns:
        float32 [N, 7], rows of NaN where a detector finds no face.
    """
    if not classifies(model):
        return crop_probabilities(Detector.load(model.directory, threads), crops)
    backend = load_backend(model.file(), threads=threads)
    return by_side(crops, lambda rows: classify_with(backend, model.manifest, rows, tta), len(EXPRESSIONS))


def classify(
    model: StoredModel, images: npt.NDArray[np.uint8], tta: bool = False, threads: int = 1
) -> npt.NDArray[np.float32]:
    """What a published classifier answers to grey crops.

    Args:
        model: the version.
        images: uint8 [N, H, W], grey.
        tta: average over the default views.
        threads: of the model's runtime.

    Returns:
        float32 [N, 7].
    """
    return classify_with(load_backend(model.file(), threads=threads), model.manifest, images, tta)


def classify_with(
    backend: Backend, manifest: Manifest, images: npt.NDArray[np.uint8], tta: bool = False
) -> npt.NDArray[np.float32]:
    """As `classify`, of a classifier that is loaded already; images may be uint8 [N, H, W, 3], RGB, as well."""
    parts = [np.empty((0, len(EXPRESSIONS)), np.float32)]
    for start in range(0, len(images), BATCH):
        crops = images[start : start + BATCH]
        crops = crops if crops.ndim == 4 else np.repeat(crops[..., None], 3, axis=3)
        views = make_views(crops).reshape(-1, *crops.shape[1:]) if tta else crops
        answers = probabilities(backend.run(prepare(views, manifest.input)), manifest)
        parts.append(mean_over_views(answers, len(crops)))
    return np.concatenate(parts)


def vote(opinions: Sequence[npt.NDArray[np.float32]], weights: Sequence[float]) -> npt.NDArray[np.float32]:
    """The ensembler's soft vote over float32 [N, 7] opinions; NaN rows where no model has one."""
    answers = soft_vote(np.stack(opinions), np.asarray(weights, np.float32))
    return np.where(answers.sum(axis=1, keepdims=True) > 0, answers, np.float32(np.nan))


def report(name: str, version: str, answers: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The figures of one model on labelled crops, as `evaluate` returns them."""
    return {"model": name, "version": version, "n": len(labels), **expression_metrics(answers, labels)}


def classifies(model: StoredModel) -> bool:
    """Whether it judges crops, and finds no faces itself."""
    return model.manifest.task is Task.CLASSIFY
