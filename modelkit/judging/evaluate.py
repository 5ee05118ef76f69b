"""Judges published models through the code that serves them, one by one and as the soft vote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.detector.evaluate import detector_probabilities, evaluate_detector
from modelkit.judging.metrics import expression_metrics
from modelkit.training.data import DataError, ExpressionSet, find_parquet, read_expressions
from services.classifier.probabilities import probabilities
from services.classifier.views import make_views, mean_over_views
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from services.ensembler.vote import soft_vote
from serving.expressions import EXPRESSIONS
from serving.models.backends import Backend, load_backend
from serving.preprocess import prepare
from serving.repository.manifest import Manifest, Task
from serving.repository.repository import ModelRepository, StoredModel

ENSEMBLE = "ensemble"
BATCH = 64


def vote_weights() -> dict[str, float]:
    """Model to weight, as the ensembler's default recipe has it."""
    recipe = read_recipe(DEFAULT_RECIPE)
    names = [*(entry.name for entry in recipe.classifiers), recipe.detector.name]
    return dict(zip(names, recipe.weights, strict=True))


def evaluate(
    models_dir: Path, names: Sequence[str], data: Path, split: str, *, tta: bool = False, threads: int = 1
) -> list[dict[str, Any]]:
    """Figures of models and of their soft vote, latest versions.

    Args:
        models_dir: the model repository.
        names: models and, for the soft vote, `ensemble`; empty: all there are and the vote.
        data: see `modelkit.training.data.find_parquet`.
        split: of the expression crops, for example `public_test`.
        tta: average the classifiers over `services.classifier.views.VIEWS`.
        threads: of the models' runtime.

    Returns:
        One dictionary a model: model, version, n, accuracy, macro_f1, ece, per_class; a detector's also holds
        recall, precision, iou and n_faces where `data` has photos.

    Raises:
        DataError: what a model needs to be judged is not in `data`.
        NotFoundError: no such model.
        InvalidModelError: a model that must not be served.
    """
    repository, weights = ModelRepository(models_dir), vote_weights()
    known = repository.names()
    voting = not names or ENSEMBLE in names
    wanted = [name for name in names if name != ENSEMBLE] if names else known
    voters = [name for name in weights if name in known] if voting else []
    stored = {name: repository.open(name, "latest") for name in dict.fromkeys([*wanted, *voters])}
    photos = _photos(data)
    crops = _crops(data, split, needed=photos is None or any(_classifies(model) for model in stored.values()))
    reports: list[dict[str, Any]] = []
    opinions: dict[str, npt.NDArray[np.float32]] = {}
    for name, model in stored.items():
        if name in wanted and not _classifies(model):
            figures = evaluate_detector(model.directory, photos, crops, threads)
            reports.append({"model": name, "version": model.manifest.version, "n": figures.get("n_crops"), **figures})
        if crops is None or not (name in voters or _classifies(model)):
            continue
        answers = opinions_of(model, crops.images, tta=tta, threads=threads)
        if answers is None:
            continue
        opinions[name] = answers
        if name in wanted and _classifies(model):
            reports.append(report(name, model.manifest.version, answers, crops.labels))
    if voting and crops is not None:
        voters = [name for name in voters if name in opinions]
        if not voters:
            raise DataError(f"no model in {models_dir} can vote; publish one first")
        version = ",".join(f"{name}:{stored[name].manifest.version}" for name in voters)
        fused = vote([opinions[name] for name in voters], [weights[name] for name in voters])
        reports.append(report(ENSEMBLE, version, fused, crops.labels))
    return reports


def opinions_of(
    model: StoredModel, images: npt.NDArray[np.uint8], *, tta: bool = False, threads: int = 1
) -> npt.NDArray[np.float32] | None:
    """What a published model of any task says of grey crops.

    Arguments as in `classify`.

    Returns:
        float32 [N, 7], rows of NaN where it has no answer; None if it has no opinion on expressions at all.
    """
    if _classifies(model):
        return classify(model, images, tta, threads)
    return detector_probabilities(model.directory, images, threads) if model.manifest.has_expressions else None


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
    """As `classify`, of a classifier that is loaded already."""
    parts = [np.empty((0, len(EXPRESSIONS)), np.float32)]
    for start in range(0, len(images), BATCH):
        crops = np.repeat(images[start : start + BATCH, :, :, None], 3, axis=3)
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


def _classifies(model: StoredModel) -> bool:
    return model.manifest.task is Task.CLASSIFY


def _photos(data: Path) -> Path | None:
    try:
        return find_parquet(data, "faces", "validation")[0]
    except DataError:
        return None


def _crops(data: Path, split: str, needed: bool) -> ExpressionSet | None:
    try:
        return read_expressions(data, split)
    except DataError:
        if needed:
            raise
        return None
