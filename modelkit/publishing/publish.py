"""Puts a new version into the model repository: whole, checked, or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.repository.manifest import MANIFEST_FILE, Manifest
from serving.repository.repository import ModelRepository

STAGING = ".staging-"


class PublishError(RuntimeError):
    """A version was not published; the message says why. The repository is as it was."""


def publish(
    models_dir: Path, name: str, files: Mapping[str, Path], make_manifest: Callable[[str, dict[str, str]], Manifest]
) -> Path:
    """Copies files into the next version of a model.

    Everything is written and flushed beside its final place, then renamed: a reader sees the whole version or
    none of it, whenever the machine stops.

    Args:
        models_dir: the repository; it is created.
        name: of the model.
        files: name in the version to the file to copy.
        make_manifest: from the version's number and the SHA-256 of every file to its manifest.

    Returns:
        The new version's directory.

    Raises:
        PublishError: another publish of this model is running, the disk is full or cannot be written, or what was
            staged does not pass the checks that serving makes.
    """
    folder = models_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        for leftover in folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover)
        repository = ModelRepository(models_dir)
        taken = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        version = str(max(taken, default=0) + 1)
        staging = folder / f"{STAGING}{version}"
        try:
            staging.mkdir()
            for file, source in files.items():
                shutil.copyfile(source, staging / file)
            digests = {file: _sha256(staging / file) for file in files}
            manifest = make_manifest(version, digests)
            if (manifest.name, manifest.version, manifest.files) != (name, version, digests):
                raise PublishError(f"the manifest does not describe version {version} of {name}")
            (staging / MANIFEST_FILE).write_text(manifest.to_json())
            Manifest.read(staging)
            for path in (*staging.iterdir(), staging):
                flush(path)
            staging.rename(folder / version)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise PublishError(f"version {version} of {name} is not published into {models_dir}: {error}") from error
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        flush(folder)
        return repository.open(name, version).directory


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other writers away from a model's folder.

    Raises:
        PublishError: one is at work there.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PublishError(
                f"another publish into {folder} is running, or a promotion; try again when it is done"
            ) from error
        yield
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
