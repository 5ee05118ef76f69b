"""An earlier revision of the repository: its images and manifests, for scenarios that go to and fro."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml

from deploy.images import host_pip
from deploy.images.build import CPU, REGISTRY, ROOT, steps
from deploy.images.tool import ImagesError, call
from tests.deploy.manifests import build, containers, workloads

TAG = "previous"


def prepare(revision: str, images: Sequence[str], kept: Path) -> list[str]:
    """Builds the images of a revision and writes its overlay `local`, with these images, to `kept` (YAML).

    Args:
        revision: what git knows it by.
        images: their names.
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
        for command in steps(CPU, TAG, lent):
            if subprocess.run(command, cwd=tree, check=False).returncode:
                raise ImagesError(f"the images of {revision} cannot be built: {' '.join(command)}")
        objects = build(tree / "deploy" / "k8s" / "overlays" / "local")
    for workload in workloads(objects):
        for container in containers(workload):
            container["image"] = f"{container['image'].rpartition(':')[0]}:{TAG}"
    kept.write_text(yaml.safe_dump_all(objects))
    return [f"{REGISTRY}/{image}:{TAG}" for image in images if image != "models"]
