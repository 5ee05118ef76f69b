"""What each choice brings: how often it sees what most of a crowd saw, on labelled crops and by the served code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.choices.measure import Choice
from modelkit.data.votes import crowd_majority
from modelkit.judging.cascade import ask
from modelkit.judging.metrics import expression_metrics
from modelkit.judging.opinions import judge_pictures, vote
from modelkit.judging.sources import read_pictures
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.cpu import available_cpus
from serving.repository.repository import ModelRepository

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Gain:
    """Shares, of `n` faces.

    Attributes:
        n: faces that the crowd decides, or all where nobody voted.
        accuracy: right answers.
        mean_recall: mean over the expressions that occur.
        further: faces that a second classifier is asked about; None where there is no cascade.
    """

    n: int
    accuracy: float
    mean_recall: float
    further: float | None


def gains(
    models_dir: Path, asked: Sequence[Choice], data: Path, split: str = "public_test", limit: int | None = None
) -> dict[str, Gain]:
    """Gains by name of the choice.

    Args:
        models_dir: the repository; what it serves is judged.
        asked: the choices.
        data, split, limit: see `modelkit.judging.sources.read_pictures`.

    Raises:
        DataError: there are no such pictures.
    """
    repository = ModelRepository(models_dir)
    pictures = read_pictures(data, split, read_recipe(DEFAULT_RECIPE).crop_size, limit)
    truth = crowd_majority(pictures.votes) if pictures.voted else pictures.labels
    rows = np.flatnonzero(truth >= 0)
    crops, truth = [pictures.crops[int(row)] for row in rows], truth[rows]
    told: dict[tuple[str, bool], Floats] = {}
    for choice in asked:
        for name in choice.classifiers:
            if (name, choice.views) not in told:
                model = repository.find(name)
                told[name, choice.views] = judge_pictures(model, crops, tta=choice.views, threads=available_cpus())
    return {
        choice.name: _gain(choice, {name: told[name, choice.views] for name in choice.classifiers}, truth)
        for choice in asked
    }


def _gain(choice: Choice, opinions: dict[str, Floats], truth: npt.NDArray[np.int64]) -> Gain:
    further = None
    if choice.ask_below:
        threshold = max(choice.ask_below.values())
        answers, asked = ask(opinions, choice.classifiers, list(choice.classifiers), [], threshold)
        further = float(asked.mean())
    else:
        answers = vote(list(opinions.values()), list(choice.classifiers.values()))
    figures = expression_metrics(answers, truth)
    return Gain(len(truth), figures["accuracy"], figures["mean_recall"], further)
