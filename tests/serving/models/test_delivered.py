"""What was measured elsewhere on the same kind of machine comes with the model; nothing else of it is believed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from serving.disk import write_whole
from serving.models import delivered, tuning
from serving.models.kept import machine_id
from serving.models.tuning import Candidate, Measurement
from serving.repository.repository import ModelRepository, StoredModel
from tests.full_disk import full_disk
from tests.in_time import in_time
from tests.tiny_models import classifier_graph, classifier_manifest, publish

SLOW, FAST = Candidate("onnxruntime", "fp32", 1, 1), Candidate("openvino", "fp32", 1, 1)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    return ModelRepository(tmp_path / "models").open("tiny", "1")


def deliver(stored: StoredModel) -> Path:
    """That OpenVINO is ten times as fast."""
    found = [Measurement(SLOW, 100, 10, 0.0), Measurement(FAST, 1000, 1, 0.0)]
    return delivered.write(stored, [asdict(measurement) for measurement in found])


def test_what_is_delivered_is_taken_and_nothing_is_measured(
    stored: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(stored)
    monkeypatch.setattr(tuning, "measure", lambda *_, **__: pytest.fail("it measures"))
    assert tuning.choose(stored, threads=1, runs=1).backend == "openvino"


def test_what_was_kept_here_comes_first(stored: StoredModel) -> None:
    deliver(stored)
    own = [Measurement(SLOW, 1000, 1, 0.0), Measurement(FAST, 100, 10, 0.0)]
    tuning.write(stored, own)
    assert tuning.read(stored) == own


@pytest.mark.parametrize("room", [0, 100])
def test_on_a_full_disk_what_is_there_stays_and_nothing_is_left_over(stored: StoredModel, room: int) -> None:
    path = deliver(stored)
    own = [Measurement(SLOW, 1000, 1, 0.0), Measurement(FAST, 100, 10, 0.0)]
    tuning.write(stored, own)
    before = sorted(stored.directory.iterdir())
    with full_disk(room):
        with pytest.raises(OSError, match="File too large"):
            delivered.write(stored, [{"candidate": {}}])
        assert tuning.write(stored, own[:1]) is None
    assert sorted(stored.directory.iterdir()) == before
    assert json.loads(path.read_text())["measurements"][0]["candidate"]
    assert tuning.read(stored) == own


def test_what_was_kept_last_counts_wherever_there_was_room(
    stored: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [Measurement(SLOW, 1000, 1, 0.0), Measurement(FAST, 100, 10, 0.0)]
    beside = tuning.write(stored, own)
    assert beside is not None
    os.utime(beside, (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr("serving.models.kept.write_whole", beside_is_full(stored))
        elsewhere = tuning.write(stored, own[:1])
    assert elsewhere is not None
    assert elsewhere.parent != beside.parent
    assert tuning.read(stored) == own[:1]


def beside_is_full(stored: StoredModel) -> Callable[[Path, str], None]:
    def write(path: Path, text: str) -> None:
        if path.parent == stored.directory:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, text)

    return write


def newer(record: dict[str, Any]) -> None:
    record["libraries"]["onnxruntime"] = "1.999"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(digest="0" * 64),
        lambda record: record.update(machine="a faster processor"),
        lambda record: record.update(cpus=record["cpus"] + 1),
        lambda record: record.update(gpu="a GPU"),
        newer,
        lambda record: record.pop("libraries"),
        lambda record: record.update(measurements=[{"candidate": "a word"}]),
    ],
)
def test_what_holds_for_something_else_is_not(stored: StoredModel, change: Callable[[dict[str, Any]], None]) -> None:
    path = deliver(stored)
    assert len(tuning.read(stored)) == 2
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert tuning.read(stored) == []


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b" " * (1 << 21)])
def test_a_file_that_cannot_be_read_is_named(
    stored: StoredModel, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = deliver(stored)
    path.write_bytes(content)
    assert tuning.read(stored) == []
    assert str(path) in caplog.text


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, endless])
def test_what_is_no_file_does_not_hold_up_a_start(stored: StoredModel, make: Callable[[Path], None]) -> None:
    for name in (f"tuning-{machine_id()}.json", f"{delivered.PREFIX}x.json"):
        make(stored.directory / name)
    assert in_time(lambda: tuning.read(stored)) == []
