"""Where table and state lie: what is written, in which order, and what is found there."""

from __future__ import annotations

import fcntl
import io
import os
import stat
from pathlib import Path

import pytest

from cli.rollout.judge import place as place_module
from cli.rollout.judge.decide import Action
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.place import ANNOTATION, ConfigMapPlace, ConflictError, LocalPlace, PlaceError
from cli.rollout.judge.sources import Gateways
from cli.rollout.judge.state import Phase, State
from cli.rollout.weights import with_share
from tests.cli.rollout.judge.conftest import RULES, TABLE, Clock, run
from tests.in_time import in_time


def test_state_and_table_are_on_the_disk_before_they_are_in_place(place, monkeypatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def replaced(path: Path, target: Path) -> Path:
        done.append("in place")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    before = place.read()
    place.write(before, with_share(before.table, "canary", 0.5), State(Phase.STEPPING, "c" * 16, 0.5))
    assert done == ["file", "file", "in place", "in place", "folder"]


def test_a_person_who_replaces_the_file_while_the_judge_writes_wins(place, monkeypatch) -> None:
    before, theirs = place.read(), TABLE.replace("weight = 0.0", "weight = 3.0")
    write = place_module._write

    def slow_disk(path: Path, text: str, like: Path) -> None:
        place.path.write_text(theirs)
        write(path, text, like)

    monkeypatch.setattr(place_module, "_write", slow_disk)
    with pytest.raises(ConflictError):
        place.write(before, with_share(before.table, "canary", 0.5), State(Phase.STEPPING, "c" * 16, 0.5))
    assert place.path.read_text() == theirs
    assert place.read().state == State()
    assert not list(place.path.parent.glob(".*.new")), "left behind"


def test_gateways_of_another_user_can_read_what_a_judge_has_written(place) -> None:
    place.path.chmod(0o644)
    before, umask = place.read(), os.umask(0o077)
    try:
        place.write(before, with_share(before.table, "canary", 0.5), State(Phase.STEPPING, "c" * 16, 0.5))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o644


def test_the_config_map_is_changed_by_whoever_read_it_last(page) -> None:
    kept, port = page
    where = ConfigMapPlace(f"http://127.0.0.1:{port}", "ferry", None, None)
    before = where.read()
    assert before.table.shares == {"stable": 1.0, "canary": 0.0}
    where.write(before, before.table, State(Phase.STEPPING, "c" * 16, 0.1))
    assert "weight = 0.0" in kept.config_map["data"]["routing.toml"]
    assert ANNOTATION in kept.config_map["metadata"]["annotations"]
    assert where.read().state.share == 0.1
    with pytest.raises(ConflictError):
        where.write(before, before.table, State())


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(PlaceError, match="cannot be read"):
        LocalPlace(tmp_path / "none.toml").read()
    (tmp_path / "bad.toml").write_text("weight = much")
    with pytest.raises(PlaceError, match="no routing table"):
        LocalPlace(tmp_path / "bad.toml").read()
    (tmp_path / "bad.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(PlaceError, match="no routing table"):
        LocalPlace(tmp_path / "bad.toml").read()
    with pytest.raises(PlaceError, match="API server"):
        ConfigMapPlace("http://127.0.0.1:1", "ferry", None, None).read()


def test_what_is_no_api_server_is_named(monkeypatch) -> None:
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_, **__: io.BytesIO(b"[" * 5000))
    with pytest.raises(PlaceError, match="API server cannot be asked"):
        ConfigMapPlace("http://127.0.0.1:1", "ferry", None, None).read()


def test_a_pipe_in_place_of_the_state_is_said_and_judging_goes_on_without_it(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    os.mkfifo(place.state_path)
    in_time(lambda: run(judge, clock, kept, 1), 30)
    assert "nothing is judged" in judge.reason
    assert "routing.toml.judge is no file" in judge.reason
    place.state_path.unlink()
    assert run(judge, clock, kept, 1) == [Action.START]


def test_a_pipe_in_place_of_what_is_written_is_removed(place) -> None:
    before = place.read()
    os.mkfifo(place.path.with_name(".routing.toml.judge.new"))
    in_time(lambda: place.write(before, before.table, State(Phase.STEPPING, "c" * 16, 0.5)), 30)
    assert place.read().state.share == 0.5


def test_a_pipe_in_place_of_the_lock_is_named(place) -> None:
    before = place.read()
    os.mkfifo(place.path.with_name("routing.toml.judge.lock"))
    with pytest.raises(PlaceError, match=r"judge\.lock"):
        in_time(lambda: place.write(before, before.table, State()), 30)


def test_nobody_waits_for_ever_for_whoever_holds_the_lock(place, monkeypatch) -> None:
    monkeypatch.setattr(place_module, "_LOCK_SECONDS", 0.1, raising=False)
    before = place.read()
    with place.path.with_name("routing.toml.judge.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PlaceError, match="holds the lock"):
            in_time(lambda: place.write(before, before.table, State()), 30)
    place.write(before, before.table, State(Phase.STEPPING, "c" * 16, 0.5))
    assert place.read().state.share == 0.5


class KilledError(Exception):
    """A judge ends here."""


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_judge_killed_between_its_writes_leaves_the_canary_the_smaller_share(place, monkeypatch, share) -> None:
    place.path.write_text(TABLE.replace("weight = 0.0", "weight = 0.25").replace("weight = 1.0", "weight = 0.75"))
    before = place.read()
    written: list[Path] = []
    put = place_module._put

    def dying(new: Path, path: Path) -> None:
        if written:
            raise KilledError
        written.append(path)
        put(new, path)

    monkeypatch.setattr(place_module, "_put", dying)
    phase = Phase.STEPPING if share else Phase.ROLLED_BACK
    with pytest.raises(KilledError):
        place.write(before, with_share(before.table, "canary", share), State(phase, "c" * 16, share))
    assert place.read().table.shares["canary"] == pytest.approx(min(share, 0.25))


def test_a_roll_back_that_the_disk_refuses_is_tried_again(page, place, monkeypatch) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    full = [True]
    write = place_module._write

    def refusing(path: Path, text: str, like: Path) -> None:
        if full[0] and place.path.name in path.name and "judge" not in path.name:
            path.write_text(text[:10])
            raise OSError(28, "No space left on device")
        write(path, text, like)

    monkeypatch.setattr(place_module, "_write", refusing)
    assert run(judge, clock, kept, 3, failing=30) == []
    assert not list(place.path.parent.glob(".*.new"))
    full[0] = False
    assert run(judge, clock, kept, 1, failing=30) == [Action.ROLL_BACK]
    assert place.read().table.shares["canary"] == 0
