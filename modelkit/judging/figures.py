"""The figures of one set of answers: against a crowd and against one label, on pictures of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.data.votes import crowd_distribution, crowd_majority, share_of
from modelkit.judging.metrics import confusion_matrix, cross_entropy, distribution_error, expression_metrics
from modelkit.judging.pictures import Pictures
from modelkit.judging.turned import by_turn
from serving.expressions import EXPRESSIONS

NO_MAJORITY = "on none of them more than half saw the same one of the seven expressions"

Mask = npt.NDArray[np.bool_]

SIZES = (24, 48, 96)
"""Bounds of the groups by size: longer side of the face in pixels."""

DARK, BRIGHT = 70, 170
"""Mean grey, 0 to 255, below and above which a face counts as dark and bright."""

UNEVEN = 50
"""Difference of the mean grey of the left and the right half from which light counts as uneven."""


class Labels(StrEnum):
    """Who says what a picture shows.

    CROWD: more than half of those who voted, see `modelkit.data.votes.crowd_majority`. FER2013: the one label that each
    picture of FER2013, or of any other data, carries. BOTH: each, where there are votes.
    """

    CROWD = "crowd"
    FER2013 = "fer2013"
    BOTH = "both"


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of each picture, and which kind of picture it is.

    Attributes:
        pictures: N of them.
        labels: who is asked.
        groups: name of a kind (`copy_free`, or `size` and `light` with the group's name) to bool [N].
    """

    pictures: Pictures
    labels: Labels
    groups: Mapping[tuple[str, ...], Mask]

    @classmethod
    def of(
        cls,
        pictures: Pictures,
        labels: Labels = Labels.BOTH,
        free: Mask | None = None,
        turned: npt.NDArray[np.float32] | None = None,
    ) -> Truth:
        """With the groups that can be told apart.

        Args:
            pictures: N of them.
            labels: `BOTH` leaves out whom nobody asked.
            free: bool [N], pictures without a near-duplicate in train; None: not known.
            turned: float32 [N], see `modelkit.judging.turned.turns`; None: not measured.

        Raises:
            ValueError: the crowd is asked for, and nobody voted; or no picture has a majority.
        """
        if labels is Labels.BOTH and not pictures.voted:
            labels = Labels.FER2013
        if labels is Labels.CROWD and not pictures.voted:
            raise ValueError(
                "nobody voted on these pictures: --labels crowd needs ferplus/votes.parquet or columns votes_*"
            )
        if labels is Labels.CROWD and (crowd_majority(pictures.votes) < 0).all():
            raise ValueError(f"a crowd voted on these pictures, but {NO_MAJORITY}")
        groups: dict[tuple[str, ...], Mask] = {}
        if free is not None:
            groups["copy_free",] = free
        groups |= {("by_size", name): mask for name, mask in by_size(pictures.sizes).items()}
        groups |= {("by_light", name): mask for name, mask in by_light(pictures.grey(48)).items()}
        if turned is not None:
            groups |= {("by_turn", name): mask for name, mask in by_turn(turned).items()}
        return cls(pictures, labels, groups)

    def figures(self, answers: npt.NDArray[np.float32]) -> dict[str, Any]:
        """The figures of answers, float32 [N, 7], rows of NaN where there is none.

        Returns:
            Against the label: `n`, `accuracy`, `macro_f1`, `mean_recall`, `ece`, `per_class`, and the same under
            `copy_free`; `by_size`, `by_light` and `by_turn` hold `n`, `accuracy` and `mean_recall` by group, and
            `confusion` counts: 7 rows of what is true, 8 columns of what is answered, the last no answer. Against the
            crowd the same under `crowd`, with `cross_entropy` (nats) and `distribution_ece` besides; where the crowd
            alone is asked, these stand in the label's place too.
        """
        found: dict[str, Any] = {}
        if self.labels is not Labels.CROWD:
            found |= self._all(answers, self.pictures.labels, None)
        if self.labels is not Labels.FER2013:
            seen = crowd_majority(self.pictures.votes)
            if (seen >= 0).any():
                crowd = self._all(answers, seen, crowd_distribution(self.pictures.votes))
                found |= {"crowd": crowd} if found else {**crowd, "crowd": crowd}
        return found

    def one_person(self) -> dict[str, Any] | None:
        """How often one of those who voted saw what more than half of them saw: the human figure beside a model's.

        Returns:
            `n`, `accuracy`, `mean_recall`, `per_class`, `crowd_entropy` (nats; no cross entropy comes below it), and
            the same under `copy_free`; None where the crowd is not asked.
        """
        votes = self.pictures.votes
        seen = crowd_majority(votes)
        if self.labels is Labels.FER2013 or not (seen >= 0).any():
            return None
        return self._person(seen >= 0, seen) | {
            name: self._person(mask & (seen >= 0), seen)
            for (name, *more), mask in self.groups.items()
            if not more and (mask & (seen >= 0)).any()
        }

    def _person(self, rows: Mask, seen: npt.NDArray[np.int64]) -> dict[str, Any]:
        agreed, wanted = share_of(self.pictures.votes, seen)[rows], crowd_distribution(self.pictures.votes)[rows]
        recall = {
            expression.value: float(agreed[seen[rows] == i].mean()) if (seen[rows] == i).any() else None
            for i, expression in enumerate(EXPRESSIONS)
        }
        known = [value for value in recall.values() if value is not None]
        return {
            "n": int(rows.sum()),
            "accuracy": float(agreed.mean()),
            "mean_recall": float(np.mean(known)),
            "crowd_entropy": cross_entropy(wanted, wanted),
            "per_class": recall,
        }

    def _all(
        self,
        answers: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        wanted: npt.NDArray[np.float32] | None,
    ) -> dict[str, Any]:
        known = labels >= 0
        found = _figures(answers, labels, wanted, known)
        found["confusion"] = confusion_matrix(answers[known], labels[known]).tolist()
        for (name, *more), mask in self.groups.items():
            rows = mask & known
            if not rows.any():
                continue
            if more:
                few = _figures(answers, labels, None, rows)
                found.setdefault(name, {})[more[0]] = {key: few[key] for key in ("n", "accuracy", "mean_recall")}
            else:
                found[name] = _figures(answers, labels, wanted, rows)
        return found


def by_size(sizes: npt.NDArray[np.float32]) -> dict[str, Mask]:
    """Masks of the groups by size that occur, smallest first; sizes are float32 [N], pixels."""
    names = [f"under {SIZES[0]} px", *(f"{low} to {high} px" for low, high in pairwise(SIZES))]
    place = np.searchsorted(SIZES, sizes, side="right")
    masks = {name: place == i for i, name in enumerate([*names, f"{SIZES[-1]} px and more"])}
    return {name: mask for name, mask in masks.items() if mask.any()}


def by_light(grey: npt.NDArray[np.uint8]) -> dict[str, Mask]:
    """Masks of the groups by light that occur: uneven (before all others), dark, bright and even.

    Args:
        grey: uint8 [N, H, W].
    """
    half = grey.shape[2] // 2
    left, right = (part.mean(axis=(1, 2)) for part in (grey[:, :, :half], grey[:, :, half:]))
    uneven, mean = np.abs(left - right) >= UNEVEN, (left + right) / 2
    dark, bright = ~uneven & (mean < DARK), ~uneven & (mean >= BRIGHT)
    masks = {"dark": dark, "even": ~uneven & ~dark & ~bright, "bright": bright, "uneven": uneven}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _figures(
    answers: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.float32] | None,
    rows: Mask,
) -> dict[str, Any]:
    found = {"n": int(rows.sum())} | expression_metrics(answers[rows], labels[rows])
    if wanted is not None:
        found["cross_entropy"] = cross_entropy(answers[rows], wanted[rows])
        found["distribution_ece"] = distribution_error(answers[rows], wanted[rows])
    return found
