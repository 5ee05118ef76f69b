"""What has a near-duplicate in train is found once, and remembered for the same pictures and the same train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelkit.judging import copies
from modelkit.judging.copies import copy_free
from modelkit.judging.pictures import Pictures
from modelkit.judging.sources import read_pictures
from tests.modelkit.pictures import crops, write_crops


def test_copies_mirrored_or_relit_are_found(data: Path, tmp_path: Path) -> None:
    pictures = read_pictures(data, "public_test", 64)
    free = copy_free(pictures, data, tmp_path / "cache")
    assert free is not None
    assert np.flatnonzero(~free).tolist() == [4, 8, 9]


def test_the_search_is_made_once_for_the_same_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = read_pictures(data, "public_test", 64)
    first = copy_free(pictures, data, tmp_path / "cache")
    asked: list[Pictures] = []
    real = copies.correlated_pairs
    monkeypatch.setattr(copies, "correlated_pairs", lambda *a: asked.append(a) or real(*a))  # type: ignore[func-returns-value]
    again = copy_free(pictures, data, tmp_path / "cache")
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first, again)
    assert asked == []
    copy_free(read_pictures(data, "public_test", 64, limit=10), data, tmp_path / "cache")
    assert len(asked) == 1
    write_crops(data / "fer2013" / "train-1.parquet", *crops(3, seed=9))
    fewer = copy_free(pictures, data, tmp_path / "cache")
    assert len(asked) == 2
    assert fewer is not None


def test_a_cache_that_is_broken_or_cannot_be_written_costs_only_time(data: Path, tmp_path: Path) -> None:
    pictures = read_pictures(data, "public_test", 64)
    cache = tmp_path / "cache"
    assert copy_free(pictures, data, cache) is not None
    (kept,) = cache.iterdir()
    kept.write_bytes(b"PK half")
    (tmp_path / "file").write_text("")
    for folder in (cache, tmp_path / "file" / "cache"):
        free = copy_free(pictures, data, folder)
        assert free is not None
        assert (~free).sum() == 3


def test_where_there_is_no_train_nothing_is_known(data: Path, tmp_path: Path) -> None:
    file = data / "fer2013" / "public_test.parquet"
    assert copy_free(read_pictures(file, "x", 64), file, tmp_path / "cache") is None
    (tmp_path / "alone").mkdir()
    assert copy_free(read_pictures(file, "x", 64), tmp_path / "alone", tmp_path / "cache") is None
