"""Files are there whole, whoever writes them at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.disk import write_whole


def test_writers_with_one_process_id_do_not_write_into_each_others_files(tmp_path: Path) -> None:
    """Threads here, and in production containers: the first process of each has the same id."""
    path, texts = tmp_path / "file", [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        for _ in range(5):
            list(pool.map(lambda text: write_whole(path, text), texts))
            assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_is_as_open_as_others_of_this_process(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", "new \udc80")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "tuning [1].json"
    left, others = tmp_path / f".{path.name}.0123456789abcdef.new", tmp_path / f".{path.name}.fedcba9876543210.new"
    for file in (left, others):
        file.write_text("ha")
    os.utime(left, (0, 0))
    write_whole(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, others])
