"""Which pictures a classifier may learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from modelkit.data.expressions import ExpressionSet, read_expressions
from modelkit.data.near_duplicates import LEAK, SAME, conflicting, correlated_pairs, groups
from modelkit.data.tables import write_table
from modelkit.data.votes import read_votes, votes_for

HELD_BACK = 0.05


@dataclass(frozen=True)
class SelectionCounts:
    """What became of the training split."""

    read: int
    near_duplicates_of_evaluation: int
    conflicting_labels: int
    held_back: int
    train: int
    leak_threshold: float
    same_threshold: float

    def as_record(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Selection:
    """Training data without near-duplicates of the evaluation pictures, and a part held back from it."""

    train: ExpressionSet
    validation: ExpressionSet
    counts: SelectionCounts


def select(data: Path, evaluation: str, cache: Path, seed: int = 7) -> Selection:
    """Reads `train`, drops what must not be learnt from, and holds a part back.

    Votes of a crowd are kept beside the pictures where `data` has them, see `modelkit.data.votes.find_votes`.

    Dropped: near-duplicates of any picture of the `evaluation` split, and near-duplicates among themselves
    that disagree on the label. The held-back part takes whole groups of near-duplicates.

    Args:
        data: see `modelkit.data.expressions.find_parquet`.
        evaluation: name of the split that is reported on, for example `public_test`.
        cache: folder for the result of the search, by the digests of both splits.
        seed: of the choice of the held-back part.
    """
    train, test = read_expressions(data, "train"), read_expressions(data, evaluation)
    if votes := read_votes(data):
        train = replace(train, votes=votes_for(train.names, votes))
    file = cache / f"near-duplicates-{train.digest[:16]}-{test.digest[:16]}-{LEAK}-{SAME}.npz"
    if not file.exists():
        pairs, _ = correlated_pairs(train.images, test.images, LEAK)
        write_table(file, {"leaked": np.unique(pairs[:, 0]), "group": groups(train.images)})
    found = np.load(file)
    leaked = np.zeros(len(train), bool)
    leaked[found["leaked"]] = True
    contradicted = conflicting(found["group"], train) & ~leaked
    usable = np.flatnonzero(~leaked & ~contradicted)
    group = found["group"][usable]
    order = np.random.default_rng(seed).permutation(np.unique(group))
    sizes = np.bincount(group, minlength=len(train))[order]
    chosen = order[: int(np.searchsorted(np.cumsum(sizes), HELD_BACK * len(usable))) + 1]
    back = np.isin(group, chosen)
    counts = SelectionCounts(
        read=len(train),
        near_duplicates_of_evaluation=int(leaked.sum()),
        conflicting_labels=int(contradicted.sum()),
        held_back=int(back.sum()),
        train=int((~back).sum()),
        leak_threshold=LEAK,
        same_threshold=SAME,
    )
    return Selection(train.take(usable[~back]), train.take(usable[back]), counts)
