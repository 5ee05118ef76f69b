"""A folder of engines in which somebody else has put things."""

from __future__ import annotations

import os
from pathlib import Path

from serving.models.backends.engines import KEY_FILE, EngineCache, EngineKey
from tests.in_time import in_time

KEY = EngineKey("0" * 64, "fp16", (1, 48, 48), (1, 4, 16), "1.31.1", "10.13.3", "a GPU", "9.0")


def test_a_key_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.folder(KEY).mkdir()
    os.mkfifo(cache.folder(KEY) / KEY_FILE)
    assert not in_time(lambda: cache.has(KEY))


def test_what_a_builder_that_was_killed_left_is_removed_and_what_another_builds_is_not(tmp_path: Path) -> None:
    cache, left, somebodys = EngineCache(tmp_path), tmp_path / f".{KEY.folder}-killed", tmp_path / ".somebody's"
    for folder in (left, somebodys):
        folder.mkdir()
        (folder / "half.engine").write_bytes(b"half")
        os.utime(folder, (0, 0))
    with cache.building(KEY) as other:
        with cache.building(KEY) as mine:
            (mine / "whole.engine").write_bytes(b"whole")
        assert sorted(tmp_path.iterdir()) == sorted([somebodys, other, cache.folder(KEY)])
        (other / "whole.engine").write_bytes(b"whole")
