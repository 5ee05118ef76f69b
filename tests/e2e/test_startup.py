"""A service with a broken model, recipe or setting does not start: it exits at once and says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.config_file import MAX_CONFIG_BYTES
from tests.processes import ROOT
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish

pytestmark = pytest.mark.e2e
COULD_NOT, WRONG_SETTING = 1, 2
"""Exit codes: something outside is not as it should be; a flag or variable is wrong."""


@dataclass(frozen=True, slots=True)
class Case:
    """arguments: module and flags, given the case's own folder, which it may fill; code and says: how it must end."""

    arguments: Callable[[Path], list[str]]
    code: int
    says: str


def model(change: Callable[[Path], Any], says: str, *flags: str) -> Case:
    """A classifier whose version `tiny` 1 was changed."""

    def arguments(folder: Path) -> list[str]:
        change(publish(folder, classifier_manifest(), classifier_graph()))
        common = ["--port", "0", "--models-dir", str(folder), "--backend", "onnxruntime"]
        return ["services.classifier", *common, *(flags or ("--models", "tiny"))]

    return Case(arguments, COULD_NOT, says)


def manifest(says: str, **changes: Any) -> Case:
    def change(version: Path) -> None:
        path = version / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return model(change, says)


def flip_a_byte(version: Path) -> None:
    content = bytearray((version / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (version / "model.onnx").write_bytes(content)


def nothing(_: Path) -> None:
    pass


def detector_without_a_label(folder: Path) -> list[str]:
    publish(folder, detector_manifest(labels=detector_manifest().labels[1:]), detector_graph())
    return ["services.detector", "--port", "0", "--models-dir", str(folder), "--backend", "onnxruntime"]


RECIPE = """
detector_weight = 0.2
vote = "soft"
[detector]
name = "detector"
address = "127.0.0.1:1"
[[classifiers]]
name = "arcface"
address = "127.0.0.1:1"
weight = 0.4
"""


def recipe(says: str, old: str = "", new: str = "", content: str | bytes | None = None, name: str = "r.toml") -> Case:
    """An ensembler whose recipe has `new` in the place of `old`, or `content` altogether."""

    def arguments(folder: Path) -> list[str]:
        assert old in RECIPE
        text = RECIPE.replace(old, new) if content is None else content
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["services.ensembler", "--port", "0", "--recipe", str(folder / name)]

    return Case(arguments, WRONG_SETTING, says)


def setting(module: str, says: str, *flags: str) -> Case:
    return Case(lambda folder: [module, "--port", "0", *flags], WRONG_SETTING, says)


CASES: dict[str, Case] = {
    "a tampered model file": model(flip_a_byte, "model.onnx is not what its manifest says"),
    "a model file that is missing": model(lambda v: (v / "model.onnx").unlink(), "model.onnx cannot be read"),
    "a manifest cut in half": model(lambda v: (v / "manifest.json").write_text('{"name": "ti'), "manifest.json"),
    "a manifest of 5 MiB": model(lambda v: (v / "manifest.json").write_bytes(bytes(5 << 20)), "larger than"),
    "a missing label": manifest("label", labels=[{"name": "happy", "expression": "happy"}]),
    "a label too many": manifest(
        "answers [1, 7] where its 8 label",
        labels=[
            *({"name": lb.name, "expression": lb.name} for lb in classifier_manifest().labels),
            {"name": "x", "expression": None},
        ],
    ),
    "an unknown key": manifest("surprise", surprise=1),
    "files outside the version": manifest("plain file name", files={"../../etc/passwd": "0" * 64}),
    "NaN mean": manifest("mean", input=classifier_manifest().input.model_dump(mode="json") | {"mean": [float("nan")]}),
    "another input size": manifest(
        "does not run as its manifest says",
        input=classifier_manifest().input.model_dump(mode="json") | {"width": 32},
    ),
    "an output it does not have": manifest("no output 'x'", output={"scores": "x", "activation": "softmax"}),
    "a model that is not there": model(nothing, "there is no model 'other'; models here: tiny", "--models", "other"),
    "a version that is not there": model(
        nothing, "there is no version 9 of model 'tiny'; it has 1", "--models", "tiny:9"
    ),
    "a repository that is not there": model(nothing, "models here: none", "--models-dir", "/nowhere/at/all"),
    "a detector with a label too few": Case(
        detector_without_a_label, COULD_NOT, "where its 6 label(s) need [1, 10, anchors]"
    ),
    "NaN weight": recipe("classifiers.0.weight", "0.4", "nan"),
    "NaN weight in JSON": recipe(
        "detector_weight",
        content='{"detector_weight": NaN, "detector": {"name": "d", "address": "h:1"}, "classifiers": '
        '[{"name": "c", "address": "h:1"}]}',
        name="r.json",
    ),
    "infinite weight": recipe("weight", "0.4", "inf"),
    "negative weight": recipe("weight", "0.4", "-0.4"),
    "all weights zero": recipe("all weights are 0", content=RECIPE.replace("0.4", "0").replace("0.2", "0")),
    "an unknown vote": recipe("vote", '"soft"', '"loud"'),
    "a model twice": recipe("same name", '"arcface"', '"detector"'),
    "an unknown key in a recipe": recipe("color", 'vote = "soft"', 'color = "red"'),
    "no classifiers": recipe("classifiers", content=RECIPE.split("[[", maxsplit=1)[0]),
    "a recipe that is no TOML": recipe("r.toml", content="{{{{"),
    "a recipe that is no text": recipe("r.toml", content=b"\xff\xfe\0"),
    "a huge recipe": recipe("larger than", content="#" * (MAX_CONFIG_BYTES + 1)),
    "a recipe that is not there": setting(
        "services.ensembler", "/nowhere/recipe.toml", "--recipe", "/nowhere/recipe.toml"
    ),
    "a policy that is none": setting("services.classifier", "--models (or FERRY_MODELS)", "--models", "../a"),
    "a backend that is none": setting("services.detector", "--backend (or FERRY_BACKEND)", "--backend", "torch"),
    "a NaN limit": setting("services.detector", "--max-megapixels", "--max-megapixels", "nan"),
    "a Redis that is none": setting("gateway", "--redis-url", "--redis-url", "file:///etc/passwd"),
    "a NaN time to live": setting("gateway", "--cache-ttl", "--cache-ttl", "nan"),
    "an unknown flag": setting("gateway", "--prot", "--prot", "1"),
}


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit code and standard error of every case."""
    commands = [case.arguments(tmp_path_factory.mktemp("case")) for case in CASES.values()]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FERRY_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.start_many"],
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean,
        check=True,
    )
    return {name: (code, errors) for name, (code, errors) in zip(CASES, json.loads(done.stdout), strict=True)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", CASES)
def test_a_broken_start_ends_with_a_clear_error(name: str, endings: dict[str, tuple[int, str]]) -> None:
    code, errors = endings[name]
    assert code == CASES[name].code, errors
    # Logs are JSON lines, in which quotes are escaped.
    assert CASES[name].says in errors.replace('\\"', '"'), errors
    assert "Traceback" not in errors
    assert len(errors) < 5000
