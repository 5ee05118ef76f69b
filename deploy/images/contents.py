"""What an image holds: the names of its files, and the text of those that say which packages it is made of."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from deploy.images.tool import ImagesError, call

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
    with _exported(builder, image) as stream:
        return read(stream)


def read(stream: IO[bytes]) -> Contents:
    """Contents of a file system as an uncompressed tar stream."""
    paths: list[str] = []
    texts: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = member.name.removeprefix("./").strip("/")
            if member.isdir():
                continue
            paths.append(path)
            if member.isfile() and _READ.fullmatch(path):
                file = archive.extractfile(member)
                assert file is not None
                texts[path] = file.read().decode(errors="replace")
    return Contents(tuple(sorted(paths)), texts)


@contextmanager
def _exported(builder: str, image: str) -> Iterator[IO[bytes]]:
    if builder == "buildah":
        container = call((builder, "from", "--pull-never", image))
        command = ["tar", "--create", "--directory", call((builder, "mount", container)), "."]
    else:
        # The command is never run; an image without one could not be created otherwise.
        container = call((builder, "create", image, "none"))
        command = [builder, "export", container]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield process.stdout
            # tar pads its end; a program that cannot write the padding would fail.
            while process.stdout.read(1 << 16):
                pass
        if process.returncode != 0:
            raise ImagesError(f"{' '.join(command)} failed with {process.returncode}")
    finally:
        call((builder, "rm", container))
