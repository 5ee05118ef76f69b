"""Gains of asking more than once: several models, several views."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.gains.row import Figures, Row
from services.classifier.views import VIEWS
from serving.cpu import available_cpus
from serving.models.backends import load_backend
from serving.models.backends.timing import median_ms
from serving.models.tuning import probe
from serving.repository.manifest import Task
from serving.repository.repository import StoredModel

SPLIT = "public_test"
ENSEMBLE, ENSEMBLE_PROMISE = "ensemble", "slower, +2 to +5 points"
TTA, TTA_PROMISE = f"TTA ({len(VIEWS)} views)", "slower, +1 to +3 points"


def ensemble_and_views(
    models: list[StoredModel], data: Path | None, limit: int | None, seconds: float
) -> Iterator[Row]:
    """The soft vote against its best model, and test-time augmentation against one view.

    Args:
        models: of the default recipe.
        data: folder with the Parquet data; None: both rows are skipped.
        limit: crops to judge on; None: all.
        seconds: to time each way.
    """
    if data is None:
        for technique, promise in ((ENSEMBLE, ENSEMBLE_PROMISE), (TTA, TTA_PROMISE)):
            yield Row(technique, "ensemble", promise, "", note="skipped: needs --data")
        return
    from modelkit.data.expressions import read_expressions
    from modelkit.judging.detection import detector_probabilities
    from modelkit.judging.opinions import classify, vote, vote_weights

    crops, weights, threads = read_expressions(data, SPLIT), vote_weights(), available_cpus()
    images, labels = crops.images[:limit], crops.labels[:limit]
    voters = [model for model in models if model.manifest.name in weights and model.manifest.has_expressions]
    plain: dict[str, npt.NDArray[np.float32]] = {}
    augmented: dict[str, npt.NDArray[np.float32]] = {}
    times: dict[str, tuple[float, float]] = {}
    for model in voters:
        name = model.manifest.name
        if model.manifest.task is Task.DETECT:
            plain[name] = augmented[name] = detector_probabilities(model.directory, images, threads)
        else:
            plain[name], augmented[name] = (classify(model, images, tta, threads) for tta in (False, True))
        times[name] = _times(model, len(VIEWS), seconds)

    def fused(opinions: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        return vote(list(opinions.values()), [weights[name] for name in opinions])

    classifiers = [model.manifest.name for model in voters if model.manifest.task is Task.CLASSIFY]
    best = max(classifiers, key=lambda name: _accuracy(plain[name], labels))
    once, often = (sum(each[i] for each in times.values()) for i in (0, 1))
    note = f"on {len(labels)} crops of {SPLIT}"
    yield Row(
        ENSEMBLE,
        "+".join(plain),
        ENSEMBLE_PROMISE,
        f"{best} alone",
        Figures(1000 / times[best][0], times[best][0], accuracy=_accuracy(plain[best], labels)),
        Figures(1000 / once, once, accuracy=_accuracy(fused(plain), labels)),
        note,
    )
    for name in classifiers:
        yield Row(
            TTA,
            name,
            TTA_PROMISE,
            "one view",
            Figures(1000 / times[name][0], times[name][0], accuracy=_accuracy(plain[name], labels)),
            Figures(1000 / times[name][1], times[name][1], accuracy=_accuracy(augmented[name], labels)),
            note,
        )
    yield Row(
        TTA,
        "ensemble",
        TTA_PROMISE,
        "one view",
        Figures(1000 / once, once, accuracy=_accuracy(fused(plain), labels)),
        Figures(1000 / often, often, accuracy=_accuracy(fused(augmented), labels)),
        note,
    )


def _times(model: StoredModel, views: int, seconds: float) -> tuple[float, float]:
    """Median milliseconds of one face: one view, all views. A detector looks once either way."""
    backend = load_backend(model.file(), threads=available_cpus())
    one = probe(model.manifest.input, 1)
    if model.manifest.task is Task.DETECT:
        (single,) = median_ms([lambda: backend.run(one)], seconds)
        return single, single
    many = probe(model.manifest.input, views)
    single, several = median_ms([lambda: backend.run(one), lambda: backend.run(many)], seconds)
    return single, several


def _accuracy(answers: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Share of rows whose highest probability is the label's; a row without an opinion counts as wrong."""
    known = ~np.isnan(answers).any(axis=1)
    return float((np.nan_to_num(answers).argmax(axis=1) == labels)[known].sum() / max(len(labels), 1))
