"""Builds the images with buildah."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.images.tool import ImagesError

ROOT = Path(__file__).parents[2]
REGISTRY = "localhost/ferry"
IMAGES = ("gateway", "ensembler", "redis", "models", "detector", "classifier")
"""The images for CPUs, which are the Dockerfile's targets of the same names; the small ones first."""

_VENVS = ("gateway-venv", "ensembler-venv", "inference-venv")
_FLAGS = ("--isolation=chroot", "--layers", "--file=deploy/images/Dockerfile")


def version() -> str:
    """The images' tag: that of the package."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def steps(images: Sequence[str], tag: str, lent: Sequence[str] = ()) -> Iterator[list[str]]:
    """The commands that build `images`, in order.

    Args:
        images: targets of the Dockerfile.
        tag: what the images are tagged with.
        lent: flags that lend something to pip. A mount leaves an empty file where it was, so only the stages whose
            file system nobody inherits run with them; the others are built before, and found in the cache.
    """
    if lent:
        yield ["buildah", "build", *_FLAGS, "--target=runtime", "."]
        for venv in _VENVS:
            yield ["buildah", "build", *_FLAGS, *lent, f"--target={venv}", "."]
    for image in images:
        yield ["buildah", "build", *_FLAGS, f"--target={image}", f"--tag={REGISTRY}/{image}:{tag}", "."]


def build(command: Sequence[str]) -> None:
    """Runs one of `steps`, with its output passed on.

    Raises:
        ImagesError: the build failed.
    """
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise ImagesError(f"{' '.join(command)} failed with {done.returncode}; its last lines say why")
