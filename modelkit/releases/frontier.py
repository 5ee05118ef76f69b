"""What can be had of the crowd and of the label: every way of joining two heads, of each run and of the vote of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import DataError
from modelkit.data.votes import crowd_majority, crowd_shares
from modelkit.judging.drawing import figure_of
from modelkit.judging.metrics import fit_temperature
from modelkit.networks.architectures import Symmetric
from modelkit.releases.classifier import Run
from modelkit.training.heads import LABEL_SHARES, PRIOR_SHARES, Joint
from modelkit.training.trainer import answer
from serving.activation import softmax
from serving.expressions import EXPRESSIONS

WEIGHTS = (0.5, 0.7, 0.85)
"""What the first run counts in the vote."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Mix:
    """One way of answering, and what it gives on held-back pictures.

    Attributes:
        label_shares, prior_shares: of each run that takes part, see `modelkit.training.heads.Joint`.
        weight: of the first run in the vote; 1 where there is one run.
        accuracy, mean_recall: by the crowd's majority.
        label_accuracy: by the pictures' labels.
    """

    label_shares: tuple[float, ...]
    prior_shares: tuple[float, ...]
    weight: float
    accuracy: float
    mean_recall: float
    label_accuracy: float

    def as_record(self) -> dict[str, object]:
        """As plain values, figures rounded to a ten-thousandth."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Held:
    """Held-back pictures: int64 [N], what the crowd sees (-1: undecided) and what the label says."""

    seen: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def figures(self, answers: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Accuracy, mean recall and label accuracy, float [M] each, of M sets of answers, [M, N]."""
        known = self.seen >= 0
        right = (answers == self.seen)[:, known].astype(np.float32)
        each = np.stack([self.seen[known] == i for i in range(len(EXPRESSIONS))], 1).astype(np.float32)
        each = each[:, each.any(axis=0)]
        recall = (right @ each / each.sum(axis=0)).mean(axis=1)
        return right.mean(axis=1), recall, (answers == self.labels).mean(axis=1, dtype=np.float32)


def mixes(runs: Sequence[Run]) -> dict[str, list[Mix]]:
    """All mixes of each run alone and, of two runs, of their vote.

    Args:
        runs: one or two finished runs with two heads, on the same data.

    Returns:
        `<recipe's name>`, and of two runs `the vote`.

    Raises:
        DataError: a run has not finished, has one head, or nobody voted on its pictures.
    """
    told: dict[str, tuple[list[tuple[float, float]], Floats]] = {}
    found: dict[str, list[Mix]] = {}
    for run in runs:
        held, shares, told_now = _joined(run)
        told[run.recipe.name] = shares, told_now
        figures = zip(shares, *held.figures(told_now.argmax(axis=2)), strict=True)
        found[run.recipe.name] = [Mix((s,), (t,), 1.0, *map(float, each)) for (s, t), *each in figures]
    if len(told) == 2:
        (first, ours), (second, theirs) = told.values()
        found["the vote"] = [
            Mix((one[0], two[0]), (one[1], two[1]), weight, *map(float, each))
            for one, answers in zip(first, ours, strict=True)
            for weight in WEIGHTS
            for two, *each in zip(
                second, *held.figures((weight * answers + (1 - weight) * theirs).argmax(axis=2)), strict=True
            )
        ]
    return found


def best_of(points: Sequence[Mix], key: str, least_recall: float = 0.0) -> list[Mix]:
    """Those that none beats in both accuracy and `key`, by falling accuracy; of those with so much mean recall."""
    kept: list[Mix] = []
    for point in sorted(points, key=lambda each: (-each.accuracy, -getattr(each, key))):
        if point.mean_recall >= least_recall and (not kept or getattr(point, key) > getattr(kept[-1], key)):
            kept.append(point)
    return kept


def chosen_of(points: Sequence[Mix]) -> Mix:
    """The one whose accuracy and mean recall, by the crowd, have the largest sum, as `export` chooses by itself."""
    return max(points, key=lambda each: each.accuracy + each.mean_recall)


def draw(found: Mapping[str, Sequence[Mix]], path: Path) -> None:
    """Accuracy by the crowd against mean recall, and against accuracy by the label, as a small PNG.

    On the right only mixes whose mean recall is within 0.05 of the largest are shown. A star is the mix that is chosen.
    """
    figure, (left, right) = figure_of(2)
    for axes, key, words, spare in (
        (left, "mean_recall", "mean recall of the seven, crowd", 1.0),
        (right, "label_accuracy", "accuracy, label (little recall lost)", 0.05),
    ):
        for name, points in found.items():
            line = best_of(points, key, max(point.mean_recall for point in points) - spare)
            (drawn,) = axes.plot(
                [point.accuracy for point in line], [getattr(point, key) for point in line], ".-", lw=0.9, label=name
            )
            chosen = chosen_of(points)
            axes.plot(chosen.accuracy, getattr(chosen, key), "*", ms=9, color=drawn.get_color())
        axes.set(xlabel="accuracy, crowd", ylabel=words)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _joined(run: Run) -> tuple[Held, list[tuple[float, float]], Floats]:
    """The held-back pictures, shares of the labels and of the prior, and what each pair answers: float32 [M, N, 7]."""
    selection = run.selection()
    held_back, trainer = selection.validation, run.trainer(selection)
    if run.recipe.heads < 2 or held_back.votes is None or selection.train.votes is None:
        raise DataError(f"{run.recipe.name} has no two heads that votes and labels taught; there is nothing to join")
    if not trainer.finished:
        raise DataError(f"{run.folder.name} has not finished; go on with `ferry models train {run.recipe.name}`")
    network = trainer.averaged_network()
    crops = np.repeat(held_back.images[..., None], 3, axis=3)
    heads = answer(Symmetric(network) if run.recipe.symmetric else network, crops, run.recipe)
    prior = crowd_shares(selection.train.votes).mean(axis=0)
    held = Held(crowd_majority(held_back.votes), held_back.labels)
    shares = [(s, t) for s in LABEL_SHARES[::2] for t in PRIOR_SHARES]
    told = [_calibrated(heads, Joint(s, t, tuple(map(float, prior / prior.sum()))), held) for s, t in shares]
    return held, shares, np.stack(told)


def _calibrated(heads: Floats, joint: Joint, held: Held) -> Floats:
    logits, known = joint.logits(heads), held.seen >= 0
    calm: Floats = softmax(logits / np.float32(fit_temperature(logits[known], held.seen[known])))
    return calm
