"""Builds the images with buildah."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.images.tool import ImagesError

ROOT = Path(__file__).parents[2]
REGISTRY = "localhost/ferry"


@dataclass(frozen=True)
class Dockerfile:
    """One Dockerfile and its stages."""

    path: str
    images: tuple[str, ...]
    """The targets that become images; the small ones first."""
    inherited: str
    """The stage that every image with Python is made from."""
    venvs: tuple[str, ...]
    """The stages in which pip works; nothing is made from them, only copied out."""
    constraints: tuple[str, ...]
    """The files that pin Python packages."""


CPU = Dockerfile(
    "deploy/images/Dockerfile",
    ("gateway", "ensembler", "judge", "redis", "models", "detector", "classifier"),
    "runtime",
    ("gateway-venv", "ensembler-venv", "judge-venv", "inference-venv"),
    ("deploy/images/constraints.txt",),
)
GPU = Dockerfile(
    "deploy/images/Dockerfile.gpu",
    ("detector-gpu", "classifier-gpu"),
    "python",
    ("inference-gpu-venv",),
    ("deploy/images/constraints.txt", "deploy/images/constraints-gpu.txt"),
)


def version() -> str:
    """The images' tag: that of the package."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def steps(
    dockerfile: Dockerfile, tag: str, lent: Sequence[str] = (), arguments: Sequence[str] = ()
) -> Iterator[list[str]]:
    """The commands that build the images of a Dockerfile, in order.

    Args:
        dockerfile: which.
        tag: what the images are tagged with.
        lent: flags that lend something to pip. A mount leaves an empty file where it was, so only the stages whose
            file system nobody inherits run with them; the others are built before, and found in the cache.
        arguments: for the Dockerfile's ARGs, `NAME=VALUE`.
    """
    command = ["buildah", "build", "--isolation=chroot", "--layers", f"--file={dockerfile.path}"]
    command += [f"--build-arg={argument}" for argument in arguments]
    if lent:
        yield [*command, f"--target={dockerfile.inherited}", "."]
        for venv in dockerfile.venvs:
            yield [*command, *lent, f"--target={venv}", "."]
    for image in dockerfile.images:
        yield [*command, f"--target={image}", f"--tag={REGISTRY}/{image}:{tag}", "."]


def build(command: Sequence[str]) -> None:
    """Runs one of `steps`, with its output passed on.

    Raises:
        ImagesError: the build failed.
    """
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise ImagesError(f"{' '.join(command)} failed with {done.returncode}; its last lines say why")
