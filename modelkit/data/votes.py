"""What a crowd saw in each picture: FER+'s votes, and what follows from them (Barsoum et al., ICMI 2016).

Counts are int64 [N, 10], one column for each of `VOTES`. A row may hold any number of votes, ten in FER+: what is made
of them are shares of what was cast. A category with one single vote is taken for a slip and dropped, as FER+ does; in
rows of fewer than `FEW` votes none is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from modelkit.data.expressions import DataError
from modelkit.data.names import expression_of
from serving.expressions import EXPRESSIONS, Expression

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
"""Columns of the votes, in the order of FER+; NF is `not a face`."""

PREFIX = "votes_"
"""Before the same names where the votes are columns of the pictures' own Parquet file."""

FEW = 5
"""Votes below which a single one is no slip."""

_SEEN = {
    "neutral": Expression.NEUTRAL,
    "happiness": Expression.HAPPY,
    "surprise": Expression.SURPRISED,
    "sadness": Expression.SAD,
    "anger": Expression.ANGRY,
    "disgust": Expression.DISGUST,
    "fear": Expression.FEAR,
}
_COLUMNS = np.array([VOTES.index(next(v for v, e in _SEEN.items() if e is seen)) for seen in EXPRESSIONS])
_EXPRESSION_OF = np.array([EXPRESSIONS.index(_SEEN[v]) if v in _SEEN else -1 for v in VOTES])

Counts = npt.NDArray[np.int64]


def find_votes(data: Path) -> Path | None:
    """The votes that belong to a data folder, a folder of crops in it, or a Parquet file; None where there are none.

    It is `ferplus/votes.parquet` or `votes.parquet`, in `data`, beside it, or one folder up from a file.
    """
    here = data.parent if data.is_file() else data
    for folder in (here, here.parent):
        for path in (folder / "ferplus" / "votes.parquet", folder / "votes.parquet"):
            if path.is_file():
                return path
    return None


def read_votes(data: Path) -> Mapping[str, Counts]:
    """The votes that belong to `data`, by the picture's name.

    Args:
        data: see `find_votes`.

    Returns:
        name to int64 [10], counts in the order of `VOTES`; empty where there are no votes.

    Raises:
        DataError: the file cannot be read, lacks a column or a name, holds anything but whole numbers of 0 or more, or
            names a picture twice with different votes.
    """
    path = find_votes(data)
    if path is None:
        return {}
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    missing = [column for column in ("name", *VOTES) if column not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it needs name, {', '.join(VOTES)}")
    names = table["name"].to_pylist()
    if None in names:
        raise DataError(f"{path}: row {names.index(None)} has no name")
    counts = counts_of(table, VOTES, names, path)
    votes: dict[str, Counts] = {}
    for name, row in zip(names, counts, strict=True):
        if name in votes and not np.array_equal(votes[name], row):
            raise DataError(f"{path}: {name!r} stands there twice, with different votes")
        votes[name] = row
    return votes


def counts_of(table: pa.Table, columns: Sequence[str], names: Sequence[str], path: Path) -> Counts:
    """The counts in columns of a table: int64 [N, len(columns)].

    Raises:
        DataError: something there is no whole number of 0 or more.
    """
    rows = []
    for column in columns:
        values = table[column]
        if not pa.types.is_integer(values.type):
            raise DataError(f"{path}: column {column} holds {values.type}, but votes are whole numbers")
        try:
            rows.append(values.cast(pa.int32()).fill_null(-1).to_numpy())
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: column {column} holds numbers that are no counts: {error}") from error
    counts = np.stack(rows, axis=1).astype(np.int64)
    wrong = np.flatnonzero((counts < 0).any(axis=1))
    if len(wrong):
        first = wrong[0]
        column = columns[int(np.flatnonzero(counts[first] < 0)[0])]
        raise DataError(f"{path}: {column} of {names[first]!r} is empty or below 0, but votes are counts of 0 or more")
    return counts


def own_votes(table: pa.Table, names: Sequence[str], path: Path) -> Counts | None:
    """The votes in a table's own columns `votes_*`, int64 [N, 10]; None where it has no such column.

    Each is named for a column of `VOTES` or, as in `votes_happy`, for an expression by the names that import knows.
    A category without a column has no votes.

    Raises:
        DataError: a column's category is not known, or occurs twice, or something there is no count.
    """
    found: dict[str, str] = {}
    for column in table.column_names:
        if not column.startswith(PREFIX):
            continue
        category = _category(column.removeprefix(PREFIX))
        if category is None or category in found:
            wrong = "is no category of votes" if category is None else f"counts the same as {found[category]}"
            raise DataError(f"{path}: column {column} {wrong}; there are {', '.join(PREFIX + v for v in VOTES)}")
        found[category] = column
    if not found:
        return None
    counts = np.zeros((table.num_rows, len(VOTES)), np.int64)
    counts[:, [VOTES.index(category) for category in found]] = counts_of(table, list(found.values()), names, path)
    return counts


def _category(name: str) -> str | None:
    plain = {vote.lower(): vote for vote in VOTES} | {"not_a_face": "NF"}
    if name.lower() in plain:
        return plain[name.lower()]
    expression = expression_of(name)
    return next((vote for vote, seen in _SEEN.items() if seen is expression), None)


def votes_for(names: Sequence[str], votes: Mapping[str, Counts]) -> Counts:
    """The votes on these pictures, int64 [N, 10]; a picture without votes has ten zeros."""
    none = np.zeros(len(VOTES), np.int64)
    return np.stack([votes.get(name, none) for name in names]) if len(names) else none[None][:0]


def crowd_majority(counts: Counts) -> npt.NDArray[np.int64]:
    """The expression that more than half of a crowd saw, by the protocol of FER+.

    Single votes are dropped; a category must hold more than half of what remains. A picture without such a category, or
    where it is contempt, unknown or not a face, is left out.

    Args:
        counts: int64 [N, 10].

    Returns:
        int64 [N]: index into `serving.expressions.EXPRESSIONS`, -1 where the picture is left out.
    """
    kept = _without_slips(counts)
    top = kept.argmax(axis=1)
    clear = 2 * kept.max(axis=1, initial=0) > kept.sum(axis=1)
    return np.where(clear, _EXPRESSION_OF[top], -1)


def share_of(counts: Counts, seen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The share of those who voted that saw a given expression, single votes included: float64 [N].

    Args:
        counts: int64 [N, 10].
        seen: int64 [N], indices into `serving.expressions.EXPRESSIONS`; what stands for -1 is of no use.
    """
    told: npt.NDArray[np.float64] = counts[np.arange(len(counts)), _COLUMNS[seen]] / np.maximum(counts.sum(axis=1), 1)
    return told


def crowd_distribution(counts: Counts) -> npt.NDArray[np.float32]:
    """The shares of the seven expressions in what a crowd saw.

    Single votes are dropped; contempt, unknown and not a face are left out, and the rest is scaled to sum to 1.

    Args:
        counts: int64 [N, 10].

    Returns:
        float32 [N, 7] in the order of `serving.expressions.EXPRESSIONS`; NaN in a row where none of them is left.
    """
    seven = _without_slips(counts)[:, _COLUMNS].astype(np.float32)
    total = seven.sum(axis=1, keepdims=True)
    return np.divide(seven, total, out=np.full_like(seven, np.nan), where=total > 0)


def crowd_shares(counts: Counts) -> npt.NDArray[np.float32]:
    """The shares of the seven expressions in all that a crowd saw, single votes dropped.

    A row sums to less than 1 where people saw contempt, something else or no face, so that it counts for less.

    Args:
        counts: int64 [N, 10].

    Returns:
        float32 [N, 7] in the order of `serving.expressions.EXPRESSIONS`; zeros without votes.
    """
    kept = _without_slips(counts).astype(np.float32)
    shares: npt.NDArray[np.float32] = kept[:, _COLUMNS] / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    return shares


def _without_slips(counts: Counts) -> Counts:
    many = counts.sum(axis=1, keepdims=True) >= FEW
    return np.where((counts == 1) & many, 0, counts)
