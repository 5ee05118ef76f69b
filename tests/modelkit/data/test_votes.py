"""Votes become what a crowd saw, by the rules of FER+; what is no vote is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelkit.data.expressions import DataError
from modelkit.data.votes import VOTES, crowd_distribution, crowd_majority, crowd_shares, read_votes, votes_for
from serving.expressions import EXPRESSIONS, Expression


def votes(**counts: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([[counts.get(name, 0) for name in VOTES]], np.int64)


def write(path: Path, names: list[str], counts: Any, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {name: pa.array(column, pa.int8()) for name, column in zip(VOTES, counts.T, strict=True)}
    columns = {"name": names} | columns | changes
    pq.write_table(pa.table({key: value for key, value in columns.items() if value is not None}), path)
    return path


@pytest.mark.parametrize(
    ("counts", "seen"),
    [
        ({"happiness": 10}, Expression.HAPPY),
        ({"sadness": 6, "neutral": 4}, Expression.SAD),
        ({"sadness": 5, "neutral": 5}, None),  # no more than half
        ({"sadness": 5, "neutral": 3, "fear": 1, "anger": 1}, Expression.SAD),  # 5 of 8: single votes are dropped
        ({"sadness": 4, "neutral": 3, "fear": 3}, None),
        ({"contempt": 8, "neutral": 2}, None),
        ({"unknown": 7, "disgust": 3}, None),
        ({"NF": 10}, None),
        ({"surprise": 5, "unknown": 3, "fear": 1, "anger": 1}, Expression.SURPRISED),
        (dict.fromkeys(VOTES, 1), None),
        ({}, None),
        ({"disgust": 6, "anger": 3}, Expression.DISGUST),  # nine voted
        ({"fear": 1}, Expression.FEAR),  # one was asked
        ({"fear": 21, "anger": 19}, Expression.FEAR),  # forty were
    ],
)
def test_the_majority_holds_more_than_half_and_is_one_of_the_seven(
    counts: dict[str, int], seen: Expression | None
) -> None:
    assert crowd_majority(votes(**counts)).tolist() == [EXPRESSIONS.index(seen) if seen else -1]


def test_the_distribution_is_of_the_seven_without_single_votes() -> None:
    (shares,) = crowd_distribution(votes(sadness=4, neutral=2, fear=1, contempt=2, unknown=1))
    assert shares.dtype == np.float32
    assert dict(zip(EXPRESSIONS, shares.tolist(), strict=True)) == pytest.approx(
        dict.fromkeys(EXPRESSIONS, 0.0) | {Expression.SAD: 4 / 6, Expression.NEUTRAL: 2 / 6}
    )


@pytest.mark.parametrize("counts", [{"contempt": 10}, {"NF": 9, "fear": 1}, {}])
def test_where_nobody_saw_one_of_the_seven_there_is_no_distribution(counts: dict[str, int]) -> None:
    assert np.isnan(crowd_distribution(votes(**counts))).all()


def test_shares_of_all_votes_are_less_where_people_saw_something_else() -> None:
    shares = crowd_shares(np.concatenate([votes(sadness=4, neutral=2, fear=1, contempt=2), votes(NF=10), votes()]))
    assert shares.sum(axis=1).tolist() == pytest.approx([6 / 8, 0, 0])
    assert shares[0, EXPRESSIONS.index(Expression.SAD)] == 0.5


def test_votes_need_not_sum_to_ten() -> None:
    few, many = votes(sadness=3, neutral=2), votes(sadness=12, neutral=8)
    for told in (crowd_majority, crowd_distribution, crowd_shares):
        np.testing.assert_array_equal(told(few), told(many))


@pytest.mark.parametrize("place", ["ferplus/votes.parquet", "votes.parquet"])
def test_votes_are_found_from_the_data_folder_its_crops_and_a_file(tmp_path: Path, place: str) -> None:
    data = tmp_path / "data"
    write(data / place, ["a", "b"], np.concatenate([votes(fear=10), votes(NF=9)]))
    crops = data / "fer2013" / "train.parquet"
    crops.parent.mkdir()
    crops.write_bytes(b"")
    for start in (data, data / "fer2013", crops):
        found = read_votes(start)
        assert sorted(found) == ["a", "b"]
        np.testing.assert_array_equal(votes_for(["b", "x", "a"], found).sum(axis=1), [9, 0, 10])


def test_without_votes_nobody_voted(tmp_path: Path) -> None:
    assert read_votes(tmp_path) == {}
    assert votes_for([], {}).shape == (0, 10)


def test_a_name_twice_is_the_same_picture_if_the_votes_are_the_same(tmp_path: Path) -> None:
    write(tmp_path / "votes.parquet", ["a", "a"], np.repeat(votes(fear=10), 2, axis=0))
    assert list(read_votes(tmp_path)) == ["a"]
    write(tmp_path / "votes.parquet", ["a", "a"], np.concatenate([votes(fear=10), votes(fear=9)]))
    with pytest.raises(DataError, match="'a' stands there twice, with different votes"):
        read_votes(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fear": None}, "has no column fear"),
        ({"name": None}, "has no column name"),
        ({"fear": pa.array([-1], pa.int8())}, "fear of 'a' is empty or below 0"),
        ({"fear": pa.array([None], pa.int8())}, "fear of 'a' is empty or below 0"),
        ({"fear": [0.5]}, "column fear holds double, but votes are whole numbers"),
        ({"fear": ["two"]}, "column fear holds string"),
        ({"name": pa.array([None], pa.string())}, "row 0 has no name"),
    ],
)
def test_what_is_no_vote_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "votes.parquet", ["a"], votes(neutral=10), **changes)
    with pytest.raises(DataError, match=message):
        read_votes(tmp_path)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "votes.parquet").write_text("votes")
    with pytest.raises(DataError, match=r"votes.parquet is not a readable Parquet file"):
        read_votes(tmp_path)
