"""Checkpoints are untrusted: whatever is in them, nothing runs, and the error says what is wrong."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cli.models import app
from modelkit.importing.checkpoint import read_checkpoint
from modelkit.importing.classifier import create
from modelkit.importing.errors import CheckpointError
from modelkit.importing.inert import read_inert

pytestmark = pytest.mark.toolchain


class Evil:
    """Makes a file when it is unpickled the usual way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.marker}",)


def archive(path: Path, pickled: bytes, *, compression: int = zipfile.ZIP_STORED, extra: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("best/data.pkl", pickled)
        file.writestr("best/version", b"3\n")
        if extra:
            file.writestr("best/data/0", extra)
    return path


@pytest.mark.parametrize("kind", ["efficientnet", "arcface", "detector"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "it ran"
    torch.save({"model": Evil(marker)}, tmp_path / "best.pt")
    result = CliRunner().invoke(app, ["import", kind, str(tmp_path / "best.pt"), "--models-dir", str(tmp_path / "m")])
    assert result.exit_code == 1
    assert not marker.exists()
    assert "system" in result.output
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.nnx", "Evil"),
        ("ultralyticsx.nn", "Evil"),
    ],
)
def test_names_that_no_network_needs_end_the_reading(tmp_path: Path, module: str, name: str) -> None:
    path = archive(tmp_path / "best.pt", f"c{module}\n{name}\n.".encode())
    with pytest.raises(CheckpointError, match=f"{module}.{name}"):
        read_inert(path)


def test_classes_of_the_network_become_shells_that_do_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path / "best.pt", b"}Vmodel\ncultralytics.nn.tasks\nDetectionModel\n)R}Vnames\n]Va\nasbs.")
    content, shells = read_inert(path)
    assert shells == ("ultralytics.nn.tasks.DetectionModel",)
    assert content["model"].state == {"names": ["a"]}


def test_pytorchs_old_format_is_taken_for_plain_weights_alone(tmp_path: Path) -> None:
    file = tmp_path / "best.pth"
    torch.save({"state_dict": {"fc.weight": torch.ones(2)}}, file, _use_new_zipfile_serialization=False)
    assert list(read_checkpoint(file).tensors) == ["fc.weight"]
    torch.save({"model": Evil(tmp_path / "it ran")}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"it asks for \w+\.system; nothing of it was run") as caught:
        read_checkpoint(file)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("own.onnx", b"\x08\x08", "is a model already.*publish it with a manifest"),
        ("text.pth", b"hello", r"\(it is damaged, or no checkpoint\)"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_words(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        read_checkpoint(tmp_path / name)


def test_dictionaries_and_lists_of_other_classes_are_lost_and_nothing_else(tmp_path: Path) -> None:
    hyper = b"clightning.fabric.utilities.data\nAttributeDict\n)R(Vlr\nF0.1\nu"  # a dictionary, filled after it is made
    buffer = b"cmmengine.logging\nHistoryBuffer\n)R(F0.1\ne"  # a list, likewise
    content, shells = read_inert(
        archive(tmp_path / "best.pt", b"}(Vhyper\n" + hyper + b"Vlog\n" + buffer + b"Vepoch\nI3\nu.")
    )
    assert shells == ("lightning.fabric.utilities.data.AttributeDict", "mmengine.logging.HistoryBuffer")
    assert (content["epoch"], content["hyper"].state, content["log"].state) == (3, {}, {})


def broken() -> dict[str, bytes]:
    state = create("resnet18", 7, 3).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    whole = buffer.getvalue()
    diverged = io.BytesIO()
    torch.save(state | {"fc.weight": torch.full((7, 512), float("nan"))}, diverged)
    return {
        "empty": b"",
        "text": b"this is no checkpoint",
        "truncated": whole[: len(whole) // 2],
        "a list": _saved([torch.ones(2)]),
        "no tensors": _saved({"epoch": 3}),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "not finite": diverged.getvalue(),
        "pickled text": pickle.dumps("weights"),
    }


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["efficientnet", "arcface", "detector"])
def test_broken_files_get_one_line(tmp_path: Path, kind: str) -> None:
    for name, content in broken().items():
        file = tmp_path / "best.pt"
        file.write_bytes(content)
        result = CliRunner().invoke(app, ["import", kind, str(file), "--models-dir", str(tmp_path / "m")])
        assert result.exit_code == 1, name
        assert result.output.strip(), name
        assert "Traceback" not in result.output, name
        assert not (tmp_path / "m").exists(), name


def test_archives_that_grow_are_refused(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "bomb.pt", bytes(1 << 20), compression=zipfile.ZIP_DEFLATED)
    for read in (read_checkpoint, read_inert):
        with pytest.raises(CheckpointError, match="compressed"):
            read(bomb)


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    def reference(size: int, count: int) -> bytes:
        class _Pickler(pickle.Pickler):
            def persistent_id(self, value: object) -> object:
                return ("storage", torch.FloatStorage, "0", "cpu", count) if value == "here" else None

        class Far:
            def __reduce__(self) -> tuple[Any, ...]:
                from torch._utils import _rebuild_tensor_v2

                return _rebuild_tensor_v2, ("here", 0, (size,), (1,), False, {})

        buffer = io.BytesIO()
        _Pickler(buffer, protocol=2).dump({"tensor": Far()})
        return buffer.getvalue()

    good = archive(tmp_path / "good.pt", reference(4, 4), extra=bytes(16))
    assert read_inert(good)[0]["tensor"].shape == (4,)
    with pytest.raises(CheckpointError, match="out of bounds"):
        read_inert(archive(tmp_path / "far.pt", reference(400, 4), extra=bytes(16)))
    with pytest.raises(CheckpointError, match="shorter"):
        read_inert(archive(tmp_path / "short.pt", reference(4, 40), extra=bytes(16)))


def test_a_safetensors_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_checkpoint(tmp_path / "best.safetensors")
