"""What an image holds: the names of its files, and the text of those that say which packages it is made of."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.images.tool import call

_READ = re.compile(
    r"var/lib/dpkg/status|.*/(?:site|dist)-packages/[^/]+\.dist-info/METADATA|(?:models/)?[^/]+/[^/]+/manifest\.json"
)


@dataclass(frozen=True)
class Contents:
    """The file system of an image, all layers applied."""

    paths: tuple[str, ...]
    """Of everything but folders, without a leading slash, sorted."""
    texts: dict[str, str] = field(default_factory=dict)
    """By path: dpkg's status, metadata of Python packages, manifests of models."""


def contents(builder: str, image: str) -> Contents:
    """
    Args:
        builder: docker, podman or buildah; the one that has the image.
        image: its name.

    Raises:
        ImagesError: there is no such image.
    """
    with _unpacked(builder, image) as root:
        return read(root)


def read(root: Path) -> Contents:
    """Contents of the file system below `root`."""
    paths: list[str] = []
    texts: dict[str, str] = {}
    for folder, folders, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        # A link to a folder counts as a folder there, and is not gone into.
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            path = (inside / name).as_posix()
            paths.append(path)
            if _READ.fullmatch(path) and not (root / path).is_symlink():
                texts[path] = (root / path).read_text(errors="replace")
    return Contents(tuple(sorted(paths)), texts)


@contextmanager
def _unpacked(builder: str, image: str) -> Iterator[Path]:
    """A folder with the image's file system."""
    if builder == "podman":
        try:
            yield Path(call((builder, "image", "mount", image)))
        finally:
            call((builder, "image", "unmount", image))
    elif builder == "buildah":
        container = call((builder, "from", "--pull-never", image))
        try:
            yield Path(call((builder, "mount", container)))
        finally:
            call((builder, "rm", container))
    else:
        # The command is never run; an image without one could not be created otherwise.
        container = call((builder, "create", image, "none"))
        try:
            with tempfile.TemporaryDirectory(prefix="ferry-image-") as folder:
                root, archive = Path(folder) / "root", Path(folder) / "image.tar"
                root.mkdir()
                call((builder, "export", f"--output={archive}", container))
                call(("tar", "--extract", "--exclude=dev/*", f"--file={archive}", f"--directory={root}"))
                yield root
        finally:
            call((builder, "rm", container))
