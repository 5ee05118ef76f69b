"""Whatever happens to a file is noticed, what cannot be used changes nothing, and each problem is said once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.watched_file import WatchedFile, signature


def number(path: Path, least_seconds: float = 0.0) -> WatchedFile[int]:
    return WatchedFile(
        "numbers",
        lambda: int(path.read_text()),
        lambda: signature([path]),
        errors=(ValueError, OSError),
        least_seconds=least_seconds,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "number").write_text("1")
    return tmp_path / "number"


def rewritten(path: Path) -> None:
    path.write_text("22")


def exchanged(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("2")
    other.rename(path)


def exchanged_with_the_same_times(path: Path) -> None:
    before = path.stat()
    exchanged(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked_elsewhere(path: Path) -> None:
    """As kubelet does it: the link to the folder is swapped, the path stays."""
    (path.parent / "next").mkdir()
    (path.parent / "next" / "number").write_text("2")
    (path.parent / "link").symlink_to("next/number")
    (path.parent / "link").rename(path)


@pytest.mark.parametrize("change", [rewritten, exchanged, exchanged_with_the_same_times, linked_elsewhere])
def test_every_change_is_noticed_once(path: Path, change: Callable[[Path], None]) -> None:
    watched = number(path)
    assert watched.value == 1
    assert not watched.look()
    change(path)
    assert watched.look()
    assert watched.value in {2, 22}
    assert not watched.look()


def test_what_cannot_be_used_changes_nothing_and_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = number(path)
    path.write_text("a number")
    for _ in range(3):
        assert not watched.look()
    assert "a number" in watched.problem
    path.unlink()
    for _ in range(3):
        assert not watched.look()
    assert "No such file" in watched.problem
    assert watched.value == 1
    assert len(caplog.records) == 2
    path.write_text("2")
    assert watched.look()
    assert (watched.value, watched.problem) == (2, "")


def test_going_back_to_what_was_there_ends_the_problem(path: Path) -> None:
    kept = path.with_name("kept")
    os.link(path, kept)
    watched = number(path)
    path.unlink()
    assert not watched.look()
    os.link(kept, path)
    # The same file, although its own time of change is another now.
    watched.look()
    assert (watched.value, watched.problem) == (1, "")


def test_a_file_that_cannot_be_used_at_the_start_is_an_error(path: Path) -> None:
    path.write_text("none")
    with pytest.raises(ValueError, match="none"):
        number(path)
    with pytest.raises(FileNotFoundError):
        number(path.with_name("missing"))


def test_looks_are_not_more_frequent_than_asked_for(path: Path) -> None:
    watched = number(path, least_seconds=3600)
    path.write_text("22")
    assert not watched.look()
    assert watched.value == 1
