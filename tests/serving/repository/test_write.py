"""What is served never changes by writing: not when writers are killed, meet, run out of disk, or bring nonsense."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from serving.repository.labels import Labels
from serving.repository.repository import InvalidModelError, ModelRepository
from serving.repository.unpack import ArchiveError, unpack
from serving.repository.write import WriteError, alone, staging
from tests.full_disk import full_disk
from tests.in_time import in_time
from tests.serving.repository.archives import packed
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish

OTHER = (4, 0, 0, 0, 0, 0, 0)
MOST = 1 << 20


def served(root: Path, name: str = "tiny") -> str | None:
    return ModelRepository(root).stable(name)


def state(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def archive(tmp_path: Path, versions: dict[str, bytes], labels: str | None = None, file: str = "models.tar") -> Path:
    """A tar with these versions of `tiny`, and its labels."""
    source = tmp_path / f"source of {file}"
    for version, graph in versions.items():
        publish(source, classifier_manifest(version=version), graph)
    if labels is not None:
        (source / "tiny").mkdir(parents=True, exist_ok=True)
        (source / "tiny" / "labels.json").write_text(labels)
    path = tmp_path / file
    path.write_bytes(packed(source))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository that serves version 1, and where nobody has promoted anything."""
    folder = tmp_path / "models"
    publish(folder, classifier_manifest(version="1"), classifier_graph())
    return folder


def test_what_is_unpacked_is_a_candidate(tmp_path: Path, root: Path) -> None:
    unpack(archive(tmp_path, {"2": classifier_graph(OTHER)}), root, MOST)
    assert ModelRepository(root).versions("tiny") == ["1", "2"]
    assert served(root) == "1"


def test_a_lower_number_that_comes_later_is_a_candidate_too(tmp_path: Path) -> None:
    publish(tmp_path / "models", classifier_manifest(version="5"), classifier_graph())
    unpack(archive(tmp_path, {"2": classifier_graph(OTHER)}), tmp_path / "models", MOST)
    assert served(tmp_path / "models") == "5"


def test_a_deployment_says_what_is_stable_and_the_way_back_is_kept(tmp_path: Path, root: Path) -> None:
    unpack(archive(tmp_path, {"2": classifier_graph(OTHER)}, '{"stable": "2"}'), root, MOST)
    assert ModelRepository(root).labels("tiny") == Labels(stable="2", history=("1",))
    unpack(tmp_path / "models.tar", root, MOST)
    assert ModelRepository(root).labels("tiny") == Labels(stable="2", history=("1",))


def test_the_first_of_a_new_model_is_served(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    both = {"3": classifier_graph(), "4": classifier_graph(OTHER)}
    unpack(archive(tmp_path, both), tmp_path / "models", MOST)
    assert served(tmp_path / "models") == "3"
    (tmp_path / "more").mkdir()
    unpack(archive(tmp_path, both, '{"stable": "4", "history": ["3"]}', "labelled.tar"), tmp_path / "more", MOST)
    assert ModelRepository(tmp_path / "more").labels("tiny") == Labels(stable="4", history=("3",))


@pytest.mark.parametrize(
    "labels",
    ["", "[]", '{"stable": "9"}', '{"stable": "../1"}', '{"owner": "me"}', '{"history": "1"}', " " * 5000, "\x00"],
)
def test_labels_that_do_not_fit_keep_everything_out(tmp_path: Path, root: Path, labels: str) -> None:
    before = state(root)
    with pytest.raises(ArchiveError, match=r"labels|stable"):
        unpack(archive(tmp_path, {"2": classifier_graph(OTHER)}, labels), root, MOST)
    assert state(root) == before


def test_a_number_is_never_another_model(tmp_path: Path, root: Path) -> None:
    before = state(root)
    with pytest.raises(WriteError, match="version 1 of tiny is there already and holds something else"):
        unpack(archive(tmp_path, {"1": classifier_graph(OTHER)}), root, MOST)
    publish(tmp_path / "other", detector_manifest(name="tiny", version="2"), detector_graph())
    (tmp_path / "detector.tar").write_bytes(packed(tmp_path / "other"))
    with pytest.raises(WriteError, match="tiny is made to classify and the new version to detect"):
        unpack(tmp_path / "detector.tar", root, MOST)
    assert state(root) == before


def test_the_same_version_stays_and_a_damaged_one_is_mended(tmp_path: Path, root: Path) -> None:
    same = archive(tmp_path, {"1": classifier_graph()})
    file = root / "tiny" / "1" / "model.onnx"
    there = file.stat().st_ino
    unpack(same, root, MOST)
    assert file.stat().st_ino == there
    file.write_bytes(b"damaged")
    unpack(same, root, MOST)
    assert ModelRepository(root).open("tiny", "1")


def test_broken_labels_are_not_written_over(tmp_path: Path, root: Path) -> None:
    (root / "tiny" / "labels.json").write_text("{")
    before = state(root)
    with pytest.raises(InvalidModelError, match="labels of model tiny"):
        unpack(archive(tmp_path, {"2": classifier_graph(OTHER)}), root, MOST)
    assert state(root) == before


def test_labels_that_are_no_file_do_not_hang(root: Path) -> None:
    os.mkfifo(root / "tiny" / "labels.json")
    with pytest.raises(InvalidModelError, match="not a plain file"):
        ModelRepository(root).stable("tiny")


@pytest.mark.parametrize("room", [0, 10, 300, 1000])
def test_a_full_disk_changes_nothing(tmp_path: Path, root: Path, room: int) -> None:
    file, before = archive(tmp_path, {"2": classifier_graph(OTHER)}, '{"stable": "2"}'), state(root)
    with full_disk(room), pytest.raises((OSError, WriteError)):
        unpack(file, root, MOST)
    assert state(root) == before
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_of_a_folder_that_is_read_only_no_file_is_named_that_nobody_knows(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)  # what such a mount says even where there is no file
    with (
        pytest.raises(WriteError, match=r"models/tiny cannot be written \(Read-only file system\)$"),
        alone(root / "tiny"),
    ):
        pytest.fail("there is nothing to do here")


def test_a_second_writer_waits_and_then_says_who_is_in_its_way(tmp_path: Path, root: Path) -> None:
    file = archive(tmp_path, {"2": classifier_graph(OTHER)})
    with alone(root / "tiny"), pytest.raises(WriteError, match="try again"):
        unpack(file, root, MOST, patience=0)
    with alone(root / "tiny"):
        waiting = threading.Thread(target=unpack, args=(file, root, MOST))
        waiting.start()
    waiting.join(30)
    assert ModelRepository(root).versions("tiny") == ["1", "2"]


def test_several_at_once_end_as_one(tmp_path: Path, root: Path) -> None:
    file, failed = archive(tmp_path, {"2": classifier_graph(OTHER)}, '{"stable": "2"}'), []

    def work() -> None:
        try:
            unpack(file, root, MOST)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert ModelRepository(root).labels("tiny") == Labels(stable="2", history=("1",))
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_a_staging_folder_in_use_is_not_cleared_and_an_abandoned_one_is(root: Path) -> None:
    (root / ".staging-old").mkdir()
    with staging(root) as first:
        with staging(root) as second:
            assert first.exists()
            assert second != first
        assert not (root / ".staging-old").exists()
    assert not first.exists()


def test_what_is_named_as_a_staging_folder_and_is_none_holds_up_no_writer(tmp_path: Path, root: Path) -> None:
    os.mkfifo(root / ".staging-pipe")
    (root / ".staging-link").symlink_to(root / ".staging-pipe")
    (tmp_path / "elsewhere").mkdir()
    (root / ".staging-folder").symlink_to(tmp_path / "elsewhere")
    file = archive(tmp_path, {"2": classifier_graph(OTHER)})
    in_time(lambda: unpack(file, root, MOST), 30)
    assert ModelRepository(root).versions("tiny") == ["1", "2"]
    assert (tmp_path / "elsewhere").exists()


def test_history_of_a_deployment_is_kept_to_its_length(tmp_path: Path, root: Path) -> None:
    (root / "tiny" / "labels.json").write_text(json.dumps({"stable": "1", "history": [str(n) for n in range(20)]}))
    unpack(archive(tmp_path, {"2": classifier_graph(OTHER)}, '{"stable": "2"}'), root, MOST)
    labels = ModelRepository(root).labels("tiny")
    assert (labels.stable, labels.history[-1], len(labels.history)) == ("2", "1", 20)
