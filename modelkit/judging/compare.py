"""Two versions of a model on the same pictures: which is better, how sure is that, and what does it cost."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import DataError, find_parquet, read_expressions
from modelkit.judging.detection import detector_probabilities, evaluate_detector
from modelkit.judging.opinions import classify, report
from serving.models.backends import load_backend
from serving.models.backends.timing import median_ms
from serving.models.tuning import probe
from serving.repository.manifest import Task
from serving.repository.repository import ModelRepository, StoredModel

CERTAIN = 0.05
"""A difference whose p-value is below this is called real."""


def compare(
    models_dir: Path,
    name: str,
    versions: tuple[str, str],
    data: Path,
    *,
    split: str = "public_test",
    limit: int | None = None,
    seconds: float = 1.0,
    threads: int = 1,
) -> dict[str, Any]:
    """Judges two versions through the code that serves them.

    Args:
        models_dir: the model repository.
        name: of the model.
        versions: the old one and the new one; decimal numbers, `latest` or `stable`.
        data: see `modelkit.data.expressions.find_parquet`.
        split: of the expression crops.
        limit: crops to judge on; None: all.
        seconds: to time each version.
        threads: of the models' runtime.

    Returns:
        `model`, `n`, `a` and `b` (figures as `evaluate` returns them; a detector's also recall and precision where
        `data` has photos), `agreement` (share of equal answers), `only_a_right` and `only_b_right` (crops), `p_value`
        (McNemar's exact test), `verdict` (`better`, `worse` or `no difference shown`), `run_ms` of both and
        `speed_ratio` (above 1: the new one is faster).

    Raises:
        NotFoundError: no such model or version.
        InvalidModelError: a version must not be served.
        DataError: the crops are missing.
        ValueError: the versions are made for different tasks.
    """
    repository = ModelRepository(models_dir)
    models = [repository.open(name, version) for version in versions]
    if models[0].manifest.task is not models[1].manifest.task:
        raise ValueError(f"{name} {versions[0]} and {versions[1]} are made for different tasks")
    crops = read_expressions(data, split)
    images, labels = crops.images[:limit], crops.labels[:limit]
    answers = [_answers(model, images, threads) for model in models]
    figures = [
        report(name, model.manifest.version, own, labels) | _faces(model, data, threads)
        for model, own in zip(models, answers, strict=True)
    ]
    # A row without an opinion (NaN) names nothing, so it is wrong and agrees with nothing.
    named = [np.where(np.isnan(own).any(axis=1), -1 - i, np.nan_to_num(own).argmax(axis=1))
             for i, own in enumerate(answers)]  # fmt: skip
    right = [own == labels for own in named]
    only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p_value = mcnemar(only_a, only_b)
    rows = probe(models[0].manifest.input, 1), probe(models[1].manifest.input, 1)
    backends = [load_backend(model.file(), threads=threads) for model in models]
    before, after = median_ms([partial(backend.run, row) for backend, row in zip(backends, rows, strict=True)], seconds)
    better = "better" if only_b > only_a else "worse"
    return {
        "model": name,
        "split": split,
        "n": len(labels),
        "a": figures[0],
        "b": figures[1],
        "agreement": float((named[0] == named[1]).mean()) if len(labels) else 1.0,
        "only_a_right": only_a,
        "only_b_right": only_b,
        "p_value": p_value,
        "verdict": better if p_value < CERTAIN else "no difference shown",
        "run_ms": [before, after],
        "speed_ratio": before / after,
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test (1947) on paired answers.

    Under equal accuracy each picture that only one of the two gets right falls to either with probability 1/2, so the
    smaller count is binomial.

    Args:
        only_a: pictures that only the first got right, 0 or more.
        only_b: pictures that only the second got right, 0 or more.

    Returns:
        Probability, [0, 1], of a difference at least as large by chance.
    """
    n, few = only_a + only_b, min(only_a, only_b)
    below = sum(math.comb(n, k) for k in range(few + 1))
    return min(1.0, float(2 * below / (1 << n))) if n < 1000 else _by_logarithms(n, few)


def _by_logarithms(n: int, few: int) -> float:
    """The same for counts whose binomials leave the range of floating point."""
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(few + 1)]
    top = max(logs)
    return min(1.0, 2 * math.exp(top) * sum(math.exp(each - top) for each in logs))


def _answers(model: StoredModel, images: npt.NDArray[np.uint8], threads: int) -> npt.NDArray[np.float32]:
    if model.manifest.task is Task.DETECT:
        return detector_probabilities(model.directory, images, threads)
    return classify(model, images, threads=threads)


def _faces(model: StoredModel, data: Path, threads: int) -> dict[str, Any]:
    """A detector's recall and precision, where there are photos."""
    if model.manifest.task is not Task.DETECT:
        return {}
    try:
        photos = find_parquet(data, "faces", "validation")[0]
    except DataError:
        return {}
    figures = evaluate_detector(model.directory, photos, None, threads)
    return {key: figures[key] for key in ("recall", "precision", "iou", "n_faces")}
