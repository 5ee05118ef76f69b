"""Model versions out of a tar archive that is laid out as the repository: `<name>/<version>/<file>`."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from pathlib import Path

from serving.errors import NotFoundError
from serving.repository.labels import LABELS_FILE, Labels
from serving.repository.manifest import FILE_PATTERN, NAME_PATTERN, VERSION_PATTERN
from serving.repository.repository import ModelRepository, StoredModel
from serving.repository.write import add, alone, staging

MAX_MEMBERS = 512

_PART = {"name": NAME_PATTERN, "version": VERSION_PATTERN, "file": FILE_PATTERN}
_INNER = {key: pattern.removeprefix("^").removesuffix("$") for key, pattern in _PART.items()}
_FILE = re.compile(f"{_INNER['name']}/(?:{_INNER['version']}/{_INNER['file']}|{re.escape(LABELS_FILE)})")
_FOLDER = re.compile(f"{_INNER['name']}(?:/{_INNER['version']})?")


_MAX_READ = 1 << 20
"""Bytes that tarfile may ask for at once: it reads what describes a member (its long name, say) in one piece."""


class ArchiveError(Exception):
    """An archive that is not taken; the message says which part of it and why."""


def unpack(archive: Path, root: Path, max_bytes: int, patience: float = 60.0) -> list[StoredModel]:
    """Adds the versions in `archive` to the repository at `root`.

    Everything is unpacked and checked beside it first; each version then appears whole, or not at all, and what the
    archive's labels call stable is served when all of them are in place. Without labels, what was served stays.

    Args:
        archive: an uncompressed tar.
        root: the repository; a version that is there already, and is the same, stays; a damaged one is replaced.
        max_bytes: of all files in it together.
        patience: seconds to wait for another writer.

    Raises:
        ArchiveError: no tar, too large, or something in it that is no version of a model.
        InvalidModelError: a version that its own manifest does not describe.
        WriteError: another writer is at work, or a version of the same number holds something else.
        OSError: it cannot be written.
    """
    with staging(root) as folder:
        _extract(archive, folder, max_bytes)
        found = _found(folder)
        labels = {name: _labels(folder, name, root) for name in found}
        for name, versions in found.items():
            (root / name).mkdir(exist_ok=True)
            with alone(root / name, patience):
                add(root, versions, labels[name])
    return [StoredModel(v.manifest, root / name / v.manifest.version) for name, vs in found.items() for v in vs]


def _found(folder: Path) -> dict[str, list[StoredModel]]:
    """Every version that was unpacked, by its model, checked as it is before it is served."""
    repository = ModelRepository(folder)
    try:
        found = {n: [repository.open(n, version) for version in repository.versions(n)] for n in repository.names()}
    except NotFoundError as error:
        raise ArchiveError(str(error)) from error
    if not found:
        raise ArchiveError("there is no model in the archive; it must hold NAME/VERSION/manifest.json")
    rest = sorted(path.name for path in folder.iterdir() if path.name not in found)
    rest += sorted(
        f"{name}/{path.name}"
        for name, versions in found.items()
        for path in (folder / name).iterdir()
        if path.is_dir() and path.name not in {version.manifest.version for version in versions}
    )
    if rest:
        raise ArchiveError(f"{rest[0]} in the archive is no model version: it has no manifest")
    return found


def _labels(folder: Path, name: str, root: Path) -> Labels:
    """The labels that the archive brings for a model; what they call stable is in the archive, or here."""
    try:
        labels = Labels.read(folder / name)
    except (OSError, ValueError) as error:
        raise ArchiveError(f"the labels of model {name} in the archive: {error}") from error
    known = {*ModelRepository(folder).versions(name), *ModelRepository(root).versions(name)}
    if labels.stable is not None and labels.stable not in known:
        raise ArchiveError(f"the archive calls version {labels.stable} of {name} stable and does not hold it")
    return labels


def _extract(archive: Path, into: Path, max_bytes: int) -> None:
    try:
        # Not compressed: what is read is then never more than what was downloaded.
        with _Bounded(io.FileIO(archive)) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            left = max_bytes
            for count, member in enumerate(tar):
                path = member.name.removeprefix("./").rstrip("/")
                if count >= MAX_MEMBERS:
                    raise ArchiveError(f"the archive has more than {MAX_MEMBERS} entries")
                if member.isdir() and (path in {"", "."} or _FOLDER.fullmatch(path)):
                    continue
                if not _FILE.fullmatch(path) or not member.isreg() or member.issparse():
                    raise ArchiveError(f"{member.name!r:.200} is no plain file NAME/VERSION/FILE; nothing was unpacked")
                left -= member.size
                if left < 0:
                    raise ArchiveError(f"the files in the archive have more than {max_bytes} bytes")
                source = tar.extractfile(member)
                assert source is not None
                target = into / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
                if target.stat().st_size != member.size:
                    raise ArchiveError(f"the archive ends within {path}")
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"not an uncompressed tar archive: {error}") from error


class _Bounded(io.BufferedReader):
    """A file that is never read in large pieces, however large an archive says that its parts are."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a part of it says that it has {size} bytes")
        return super().read(size)
