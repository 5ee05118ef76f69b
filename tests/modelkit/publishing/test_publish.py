from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelkit.publishing.publish import PublishError, publish
from serving.expressions import EXPRESSIONS
from serving.repository.manifest import Activation, Color, InputSpec, Label, Manifest, OutputSpec, Task
from serving.repository.repository import InvalidModelError, ModelRepository
from serving.repository.write import WriteError
from tests.full_disk import full_disk


def manifest(version: str, files: dict[str, str], name: str = "tiny") -> Manifest:
    return Manifest(
        name=name,
        version=version,
        task=Task.CLASSIFY,
        architecture="none",
        input=InputSpec(name="images", width=48, height=48, color=Color.GREY, mean=(0.5,), std=(0.25,)),
        labels=tuple(Label(name=e.value, expression=e) for e in EXPRESSIONS),
        output=OutputSpec(scores="logits", activation=Activation.SOFTMAX),
        files=files,
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return {"model.onnx": path}


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_versions_count_up_and_pass_servings_checks(tmp_path: Path, files: dict[str, Path]) -> None:
    models = tmp_path / "models"
    assert publish(models, "tiny", files, manifest) == models / "tiny" / "1"
    assert publish(models, "tiny", files, manifest) == models / "tiny" / "2"
    assert ModelRepository(models).open("tiny", "latest").file().read_bytes() == b"weights"
    assert everything_below(models / "tiny" / "2") == {"model.onnx", "manifest.json"}


def test_a_copy_that_is_named_by_date_and_time_is_no_version(tmp_path: Path, files: dict[str, Path]) -> None:
    models = tmp_path / "models"
    publish(models, "tiny", files, manifest)
    (models / "tiny" / "20261130174500").mkdir()
    assert publish(models, "tiny", files, manifest) == models / "tiny" / "2"


def test_failure_leaves_no_trace(tmp_path: Path, files: dict[str, Path]) -> None:
    models = tmp_path / "models"
    publish(models, "tiny", files, manifest)
    before = everything_below(models)

    def explode(version: str, digests: dict[str, str]) -> Manifest:
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        publish(models, "tiny", files, explode)
    with pytest.raises(PublishError, match="does not describe version 2"):
        publish(models, "tiny", files, lambda version, digests: manifest("7", digests))
    assert everything_below(models) == before


def test_what_a_crash_left_behind_is_no_version_and_is_cleared(tmp_path: Path, files: dict[str, Path]) -> None:
    models = tmp_path / "models"
    half = models / ".staging-1"
    (models / "tiny").mkdir(parents=True)
    half.mkdir()
    (half / "model.onnx").write_bytes(b"wei")
    assert ModelRepository(models).versions("tiny") == []
    publish(models, "tiny", files, manifest)
    assert not half.exists()


def test_two_publishers_at_once(tmp_path: Path, files: dict[str, Path]) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(WriteError, match="another publish"):
        publish(tmp_path / "models", "tiny", files, manifest)
    os.close(handle)
    publish(tmp_path / "models", "tiny", files, manifest)


def test_a_publish_within_a_publish_is_refused_and_the_first_one_ends_well(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    models = tmp_path / "models"

    def meanwhile(version: str, digests: dict[str, str]) -> Manifest:
        with pytest.raises(WriteError, match="another publish"):
            publish(models, "tiny", files, manifest)
        return manifest(version, digests)

    assert publish(models, "tiny", files, meanwhile) == models / "tiny" / "1"
    assert everything_below(models / "tiny") == {"1", "1/model.onnx", "1/manifest.json", "labels.json"}


KILLED = """
import os, signal, sys
from pathlib import Path
from modelkit.publishing.publish import publish

def killed(version, digests):
    os.kill(os.getpid(), signal.SIGKILL)

publish(Path(sys.argv[1]), "tiny", {"model.onnx": Path(sys.argv[2])}, killed)
"""


def test_a_publish_that_is_killed_leaves_no_version_and_no_lock(tmp_path: Path, files: dict[str, Path]) -> None:
    models = tmp_path / "models"
    publish(models, "tiny", files, manifest)
    arguments = [sys.executable, "-c", KILLED, str(models), str(files["model.onnx"])]
    assert subprocess.run(arguments, check=False, timeout=60).returncode == -signal.SIGKILL
    assert ModelRepository(models).versions("tiny") == ["1"]
    assert ModelRepository(models).open("tiny", "latest").manifest.version == "1"
    publish(models, "tiny", files, manifest)
    assert {path.name for path in (models / "tiny").iterdir()} == {"1", "2", "labels.json"}
    assert {path.name for path in models.iterdir()} == {"tiny"}


def test_who_gives_up_leaves_no_trace(tmp_path: Path, files: dict[str, Path]) -> None:
    def interrupted(version: str, digests: dict[str, str]) -> Manifest:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "models", "tiny", files, interrupted)
    assert everything_below(tmp_path / "models") == {"tiny"}


@pytest.mark.parametrize("room", [0, 100], ids=["for nothing", "for the weights, not the manifest"])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, files: dict[str, Path], room: int) -> None:
    models = tmp_path / "models"
    publish(models, "tiny", files, manifest)
    before = everything_below(models)
    with full_disk(room), pytest.raises(PublishError, match=r"version 2 of tiny is not published into .*models: .*"):
        publish(models, "tiny", files, manifest)
    assert everything_below(models) == before
    assert ModelRepository(models).open("tiny", "latest").file().read_bytes() == b"weights"
    publish(models, "tiny", files, manifest)
    assert ModelRepository(models).versions("tiny") == ["1", "2"]


def test_published_weights_cannot_be_swapped(tmp_path: Path, files: dict[str, Path]) -> None:
    version = publish(tmp_path / "models", "tiny", files, manifest)
    (version / "model.onnx").write_bytes(b"wrights")
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not what its manifest says"):
        ModelRepository(tmp_path / "models").open("tiny", "1")
