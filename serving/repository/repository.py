"""The versioned model repository: `<root>/<name>/<version>/manifest.json` and the files it lists.

Versions are immutable directories named by a decimal number. A version is served only if every file has the
digest its manifest gives.
"""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.errors import NotFoundError
from serving.repository.labels import Labels
from serving.repository.manifest import MANIFEST_FILE, NAME_PATTERN, VERSION_PATTERN, Manifest

LATEST, STABLE = "latest", "stable"


class InvalidModelError(Exception):
    """A model version that must not be served; the message says which and why."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version on disk whose digests have been checked."""

    manifest: Manifest
    directory: Path

    def file(self, variant: str = "default") -> Path:
        """The model file of a precision variant."""
        return self.directory / self.manifest.variants[variant]


class ModelRepository:
    """Read access to a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Every model that has at least one version, sorted."""
        try:
            found = [path.name for path in self.root.iterdir() if re.fullmatch(NAME_PATTERN, path.name)]
        except OSError:
            return []
        return sorted(name for name in found if self.versions(name))

    def versions(self, name: str) -> list[str]:
        """Versions of a model, oldest first. Directories without a manifest are not versions (yet)."""
        if not re.fullmatch(NAME_PATTERN, name):
            return []
        try:
            found = [
                path.name
                for path in (self.root / name).iterdir()
                if re.fullmatch(VERSION_PATTERN, path.name) and (path / MANIFEST_FILE).is_file()
            ]
        except OSError:
            return []
        return sorted(found, key=int)

    def labels(self, name: str) -> Labels:
        """What has been promoted; empty where nothing has.

        Raises:
            InvalidModelError: the file that says so cannot be read or does not fit.
        """
        try:
            return Labels.read(self.root / name)
        except (OSError, ValueError) as error:
            raise InvalidModelError(f"the labels of model {name}: {error}") from error

    def stable(self, name: str) -> str | None:
        """The version to serve: the promoted one, else the first; None where there is no version.

        The first, and not the newest: whatever is added later, in whatever way, is a candidate until it is promoted.

        Raises:
            InvalidModelError: as `labels`.
        """
        return self.labels(name).stable or next(iter(self.versions(name)), None)

    def find(self, text: str) -> StoredModel:
        """A version as people write it: `arcface`, which is the one that is served, `arcface:latest` or `arcface:2`.

        Raises:
            NotFoundError, InvalidModelError: as `open`.
        """
        name, _, version = text.partition(":")
        return self.open(name, version or STABLE)

    def open(self, name: str, version: str) -> StoredModel:
        """Reads a version and checks every file of it.

        Args:
            name: the model.
            version: a decimal number; `latest`, the newest; or `stable`, the promoted one, else the first.

        Raises:
            NotFoundError: no such model or version; the message lists what there is.
            InvalidModelError: the manifest does not fit, a file is missing, or a digest differs.
        """
        versions = self.versions(name)
        if versions and version == LATEST:
            version = versions[-1]
        elif versions and version == STABLE:
            version = self.stable(name) or version
        if not versions:
            raise NotFoundError(f"there is no model {name!r}; models here: {', '.join(self.names()) or 'none'}")
        if version not in versions:
            raise NotFoundError(f"there is no version {version} of model {name!r}; it has {', '.join(versions)}")
        directory = self.root / name / version
        try:
            manifest = Manifest.read(directory)
        except (OSError, ValidationError, ValueError) as error:
            raise InvalidModelError(f"{directory / MANIFEST_FILE}: {error}") from error
        if (manifest.name, manifest.version) != (name, version):
            raise InvalidModelError(f"{directory} holds {manifest.name} {manifest.version} by its manifest")
        for file, digest in manifest.files.items():
            _check_file(directory / file, digest)
        return StoredModel(manifest, directory)


def _check_file(path: Path, digest: str) -> None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidModelError(f"{path} is not a plain file; a version holds its own files")
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror}") from error
    if actual != digest:
        raise InvalidModelError(f"{path} is not what its manifest says (SHA-256 {actual[:12]}…, not {digest[:12]}…)")
