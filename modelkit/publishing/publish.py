"""Puts a new version into the model repository: whole, checked, or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.repository.manifest import MANIFEST_FILE, VERSION_PATTERN, Manifest
from serving.repository.repository import ModelRepository
from serving.repository.write import WriteError, add, alone, staging


class PublishError(WriteError):
    """A version was not published; the message says why. The repository is as it was."""


def publish(
    models_dir: Path, name: str, files: Mapping[str, Path], make_manifest: Callable[[str, dict[str, str]], Manifest]
) -> Path:
    """Copies files into the next version of a model: a candidate, unless it is the model's first.

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
        PublishError: the disk is full or cannot be written, or what was staged does not pass the checks that serving
            makes.
        WriteError: another writer is at work on this model, or its other versions are made for another task.
        InvalidModelError: the model's labels cannot be read.
    """
    folder = models_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        version = _next_version(models_dir, name)
        try:
            with staging(models_dir) as stage:
                staged = stage / name / version
                staged.mkdir(parents=True)
                for file, source in files.items():
                    shutil.copyfile(source, staged / file)
                digests = {file: _sha256(staged / file) for file in files}
                manifest = make_manifest(version, digests)
                if (manifest.name, manifest.version, manifest.files) != (name, version, digests):
                    raise PublishError(f"the manifest does not describe version {version} of {name}")
                (staged / MANIFEST_FILE).write_text(manifest.to_json())
                add(models_dir, [ModelRepository(stage).open(name, version)])
        except OSError as error:
            raise PublishError(f"version {version} of {name} is not published into {models_dir}: {error}") from error
    return folder / version


def _next_version(models_dir: Path, name: str) -> str:
    """One more than any that is there, or that the labels know: a number is never used twice."""
    labels = ModelRepository(models_dir).labels(name)
    # Whatever else lies there, such as a copy that is named by date and time, is no version.
    there = (path.name for path in (models_dir / name).iterdir() if re.fullmatch(VERSION_PATTERN, path.name))
    known = [*there, *labels.history, *([] if labels.stable is None else [labels.stable])]
    return str(max((int(number) for number in known), default=0) + 1)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
