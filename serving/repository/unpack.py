"""Model versions out of a tar archive that is laid out as the repository: `<name>/<version>/<file>`."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from serving.errors import NotFoundError
from serving.repository.labels import LABELS_FILE
from serving.repository.manifest import FILE_PATTERN, NAME_PATTERN, VERSION_PATTERN
from serving.repository.repository import ModelRepository, StoredModel

MAX_MEMBERS = 512

_PART = {"name": NAME_PATTERN, "version": VERSION_PATTERN, "file": FILE_PATTERN}
_INNER = {key: pattern.removeprefix("^").removesuffix("$") for key, pattern in _PART.items()}
_FILE = re.compile(f"{_INNER['name']}/(?:{_INNER['version']}/{_INNER['file']}|{re.escape(LABELS_FILE)})")
_FOLDER = re.compile(f"{_INNER['name']}(?:/{_INNER['version']})?")


class ArchiveError(Exception):
    """An archive that is not taken; the message says which part of it and why."""


def unpack(archive: Path, root: Path, max_bytes: int) -> list[StoredModel]:
    """Adds the versions in `archive` to the repository at `root`.

    Everything is unpacked and checked beside it first; each version then appears whole, or not at all.

    Args:
        archive: an uncompressed tar.
        root: the repository; an existing version of the same number is replaced.
        max_bytes: of all files in it together.

    Raises:
        ArchiveError: no tar, too large, or something in it that is no version of a model.
        InvalidModelError: a version that its own manifest does not describe.
        OSError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        new.mkdir()
        old.mkdir()
        _extract(archive, new, max_bytes)
        repository = ModelRepository(new)
        try:
            found = [repository.open(name, v) for name in repository.names() for v in repository.versions(name)]
        except NotFoundError as error:
            raise ArchiveError(str(error)) from error
        if not found:
            raise ArchiveError("there is no model in the archive; it must hold NAME/VERSION/manifest.json")
        for stored in found:
            _move(stored.directory, root / stored.manifest.name / stored.manifest.version, old)
        for labels in new.glob(f"*/{LABELS_FILE}"):
            labels.replace(root / labels.parent.name / LABELS_FILE)
    return [StoredModel(s.manifest, root / s.manifest.name / s.manifest.version) for s in found]


def _extract(archive: Path, into: Path, max_bytes: int) -> None:
    try:
        # Not compressed: what is read is then never more than what was downloaded.
        with tarfile.open(archive, "r:") as tar:
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


def _move(version: Path, target: Path, old: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        target.rename(old / f"{target.parent.name}-{target.name}")
    version.rename(target)
