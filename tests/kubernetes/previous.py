"""An earlier revision of the repository: its images and manifests, for scenarios that go to and fro."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import yaml

from deploy.images import host_pip
from deploy.images.build import CPU, REGISTRY, ROOT, Dockerfile, steps
from deploy.images.tool import ImagesError, call
from tests.deploy.manifests import build, containers, workloads

TAG = "previous"
UNUSED = frozenset({"judge", "models"})
"""Images that overlay `local` does without."""


def newest() -> str:
    """The newest release that this revision comes after.

    Raises:
        ImagesError: there is no tag of one.
    """
    command = ("git", "-C", str(ROOT), "describe", "--tags", "--abbrev=0", "--match=v[0-9]*", "HEAD^")
    try:
        return call(command).strip()
    except ImagesError as error:
        raise ImagesError("no tag v* is of an earlier release: name a revision, --previous REVISION") from error


def of(text: str) -> Dockerfile:
    """What the Dockerfile of an earlier revision makes of the images that Ferry is run from."""
    stages = re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE | re.IGNORECASE)
    images = tuple(image for image in CPU.images if image in stages and image not in UNUSED)
    venvs = tuple(venv for venv in CPU.venvs if venv in stages and venv.removesuffix("-venv") not in UNUSED)
    return dataclasses.replace(CPU, images=images, venvs=venvs)


def prepare(revision: str, kept: Path) -> list[str]:
    """Builds the images of a revision and writes its overlay `local`, with these images, to `kept` (YAML).

    Args:
        revision: what git knows it by.
        kept: the file.

    Returns:
        The images' tags.

    Raises:
        ImagesError: there is no such revision, or it cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="ferry-previous-") as folder, ExitStack() as stack:
        tree = Path(folder) / "tree"
        call(("git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(tree), revision))
        stack.callback(call, ("git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)))
        lent = stack.enter_context(host_pip.volumes())
        dockerfile = of((tree / CPU.path).read_text())
        for command in steps(dockerfile, TAG, lent):
            if subprocess.run(command, cwd=tree, check=False).returncode:
                raise ImagesError(f"the images of {revision} cannot be built: {' '.join(command)}")
        objects = build(tree / "deploy" / "k8s" / "overlays" / "local")
    for workload in workloads(objects):
        for container in containers(workload):
            container["image"] = f"{container['image'].rpartition(':')[0]}:{TAG}"
    kept.write_text(yaml.safe_dump_all(objects))
    return [f"{REGISTRY}/{image}:{TAG}" for image in dockerfile.images]
