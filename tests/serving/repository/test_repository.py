"""A version is served only if it is exactly what its manifest says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.errors import NotFoundError
from serving.repository.manifest import Manifest
from serving.repository.repository import InvalidModelError, ModelRepository
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return publish(tmp_path, classifier_manifest(), classifier_graph())


def edit(version: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    change(manifest)
    (version / "manifest.json").write_text(json.dumps(manifest))


def test_a_good_version_opens(tmp_path: Path, version: Path) -> None:
    stored = ModelRepository(tmp_path).open("tiny", "latest")
    assert stored.file() == version / "model.onnx"
    assert stored.manifest.version == "1"


def test_versions_are_ordered_as_numbers(tmp_path: Path) -> None:
    for number in ("2", "10", "9"):
        publish(tmp_path, classifier_manifest(version=number), classifier_graph())
    (tmp_path / "tiny" / "11").mkdir()  # being written: no manifest yet
    (tmp_path / "tiny" / ".staging-12").mkdir()
    repository = ModelRepository(tmp_path)
    assert repository.versions("tiny") == ["2", "9", "10"]
    assert repository.open("tiny", "latest").manifest.version == "10"
    assert repository.names() == ["tiny"]


@pytest.mark.parametrize(
    ("name", "wanted"), [("tiny", "2"), ("other", "latest"), ("../tiny", "1"), ("tiny", "../1"), ("tiny", "")]
)
def test_what_is_not_there_is_not_found_and_the_message_lists_what_is(
    tmp_path: Path, version: Path, name: str, wanted: str
) -> None:
    with pytest.raises(NotFoundError, match=r"it has 1|models here: tiny"):
        ModelRepository(tmp_path).open(name, wanted)


def test_an_absent_repository_is_empty(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "nowhere")
    assert repository.names() == []
    with pytest.raises(NotFoundError, match="none"):
        repository.open("tiny", "latest")


def test_a_tampered_model_file_is_refused(tmp_path: Path, version: Path) -> None:
    weights = bytearray((version / "model.onnx").read_bytes())
    weights[-1] ^= 1
    (version / "model.onnx").write_bytes(weights)
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not what its manifest says"):
        ModelRepository(tmp_path).open("tiny", "1")


def test_a_missing_file_is_refused(tmp_path: Path, version: Path) -> None:
    (version / "model.onnx").unlink()
    with pytest.raises(InvalidModelError, match=r"model\.onnx cannot be read"):
        ModelRepository(tmp_path).open("tiny", "1")


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, version: Path) -> None:
    elsewhere = tmp_path / "elsewhere.onnx"
    (version / "model.onnx").rename(elsewhere)
    (version / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(InvalidModelError, match="not a plain file"):
        ModelRepository(tmp_path).open("tiny", "1")


def test_a_pipe_in_place_of_a_file_is_refused_and_nobody_waits_for_it(tmp_path: Path, version: Path) -> None:
    (version / "model.onnx").unlink()
    os.mkfifo(version / "model.onnx")
    with pytest.raises(InvalidModelError, match="not a plain file"):
        ModelRepository(tmp_path).open("tiny", "1")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path, version: Path) -> None:
    (version / "model.onnx").unlink()
    (version / "model.onnx").mkdir()
    with pytest.raises(InvalidModelError, match="not a plain file"):
        ModelRepository(tmp_path).open("tiny", "1")


def test_a_version_moved_to_another_name_is_refused(tmp_path: Path, version: Path) -> None:
    version.rename(tmp_path / "tiny" / "3")
    with pytest.raises(InvalidModelError, match="holds tiny 1"):
        ModelRepository(tmp_path).open("tiny", "3")


def without_a_label(manifest: dict[str, Any]) -> None:
    manifest["labels"] = [label for label in manifest["labels"] if label["expression"] is None]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another name": (lambda m: m.update(name="other"), "holds other"),
    "another version": (lambda m: m.update(version="2"), "holds tiny 2"),
    "an unknown key": (lambda m: m.update(surprise=1), "surprise"),
    "a future schema": (lambda m: m.update(schema_version=2), "schema_version"),
    "no labels": (without_a_label, "labels"),
    "an unknown expression": (lambda m: m["labels"][0].update(expression="bored"), "expression"),
    "no label with an expression": (
        lambda m: m.update(labels=[{"name": "cat", "expression": None}]),
        "no label maps to an expression",
    ),
    "two labels of one name": (lambda m: m["labels"][1].update(name="angry"), "same name"),
    "NaN mean": (lambda m: m["input"].update(mean=[float("nan")]), "mean"),
    "infinite std": (lambda m: m["input"].update(std=[float("inf")]), "std"),
    "zero std": (lambda m: m["input"].update(std=[0]), "std"),
    "negative std": (lambda m: m["input"].update(std=[-1]), "std"),
    "three means for grey": (lambda m: m["input"].update(mean=[0, 0, 0]), "mean needs 1"),
    "zero width": (lambda m: m["input"].update(width=0), "width"),
    "enormous height": (lambda m: m["input"].update(height=1 << 30), "height"),
    "unknown colour": (lambda m: m["input"].update(color="bgr"), "color"),
    "unknown resize": (lambda m: m["input"].update(resize="magic"), "resize"),
    "NaN margin": (lambda m: m["input"].update(crop_margin=float("nan")), "crop_margin"),
    "NaN temperature": (lambda m: m["output"].update(temperature=float("nan")), "temperature"),
    "zero temperature": (lambda m: m["output"].update(temperature=0), "temperature"),
    "a path as a file": (lambda m: m.update(files={"../model.onnx": "0" * 64}), "plain file name"),
    "an absolute file": (lambda m: m.update(files={"/etc/passwd": "0" * 64}), "plain file name"),
    "a hidden file": (lambda m: m.update(files={".env": "0" * 64}), "plain file name"),
    "a variant that is a path": (lambda m: m["variants"].update(int8="../../x.onnx"), "files does not list"),
    "no default variant": (lambda m: m.update(variants={"int8": "model.onnx"}), "default"),
    "a digest that is none": (lambda m: m["files"].update({"model.onnx": "abc"}), "SHA-256"),
    "a detector without a rule": (lambda m: m.update(task="detect"), "detection"),
    "a task of its own": (lambda m: m.update(task="mine"), "task"),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_a_tampered_manifest_is_refused(
    tmp_path: Path, version: Path, change: Callable[[dict[str, Any]], Any], says: str
) -> None:
    edit(version, change)
    with pytest.raises(InvalidModelError, match=says):
        ModelRepository(tmp_path).open("tiny", "1")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (4 << 20) + b"{}"],
    ids=["empty", "cut", "null", "list", "not text", "deep", "huge"],
)
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path, version: Path, content: bytes) -> None:
    (version / "manifest.json").write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"manifest\.json"):
        ModelRepository(tmp_path).open("tiny", "1")


def test_the_digest_covers_what_decides_an_answer_and_nothing_else() -> None:
    base = classifier_manifest()
    assert base.digest == classifier_manifest(description="other words", evaluation={"accuracy": 1}).digest
    assert base.digest != classifier_manifest(files={"model.onnx": "1" * 64}).digest
    spec = base.input.model_copy(update={"crop_margin": 0.1})
    assert base.digest != classifier_manifest(input=spec).digest
    assert base.digest != classifier_manifest(output=base.output.model_copy(update={"temperature": 2.0})).digest


def test_a_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    directory = publish(tmp_path, detector_manifest(), detector_graph())
    manifest = Manifest.read(directory)
    assert Manifest.model_validate_json(manifest.to_json()) == manifest
    assert manifest.has_expressions
    assert not detector_manifest(labels=[{"name": "face", "expression": None}]).has_expressions


def test_backends_are_recorded_only_for_variants_that_exist(tmp_path: Path, version: Path) -> None:
    digest = ModelRepository(tmp_path).open("tiny", "1").manifest.digest
    for variant in ("int8", "default"):
        edit(version, lambda manifest, variant=variant: manifest.update(variant_backends={variant: ["onnxruntime"]}))
        with pytest.raises(InvalidModelError, match="no variant besides the default"):
            ModelRepository(tmp_path).open("tiny", "1")
    edit(version, lambda manifest: manifest.pop("variant_backends"))  # as older versions are
    assert ModelRepository(tmp_path).open("tiny", "1").manifest.digest == digest
