"""The one writer of the repository: versions that appear whole or not at all, and the label that says which is served.

Whatever adds versions (publishing, importing, unpacking) stages them beside their place and calls `add`. It never
changes what is served: only `set_labels` does, for a promotion, a rollback, or a deployment that brings its own labels.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from serving.disk import flush
from serving.repository.labels import LABELS_FILE, MAX_HISTORY, Labels
from serving.repository.repository import InvalidModelError, ModelRepository, StoredModel

STAGING = ".staging-"
_PARTIAL = f"{LABELS_FILE}.partial"
_LOOK_AGAIN = 0.05
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
"""To open anything else, such as a named pipe, fails and does not wait."""


class WriteError(RuntimeError):
    """Nothing was written; the message says why. The repository is as it was."""


@contextmanager
def alone(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keeps other writers away from a model's folder.

    Args:
        folder: `<root>/<name>`; it exists.
        patience: seconds to wait for another writer.

    Raises:
        WriteError: another one is still at work there, or it cannot be written.
    """
    until = time.monotonic() + patience
    with _opened(folder) as handle:
        while not _locked(handle):
            if time.monotonic() >= until:
                raise WriteError(f"another publish into {folder} is running, or a promotion; try again when it is done")
            time.sleep(_LOOK_AGAIN)
        try:
            (folder / _PARTIAL).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"{folder} cannot be written ({error.strerror})") from error
        yield


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """An empty folder on the repository's disk that is gone afterwards; no reader takes it for a model.

    What writers that were killed have left is cleared first: whoever still works holds a lock on his own.

    Raises:
        OSError: it cannot be made.
    """
    with _opened(root) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # nobody may clear what is made here before its lock is taken
        for leftover in root.glob(f"{STAGING}*"):
            _clear(leftover)
        folder = Path(tempfile.mkdtemp(dir=root, prefix=STAGING))
        owned = os.open(folder, _FOLDER)
        _locked(owned)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owned)


def add(root: Path, staged: Sequence[StoredModel], wanted: Labels = Labels()) -> None:
    """Moves checked versions of one model to their place.

    What is served stays what it is, unless `wanted` says otherwise. Of a model that had no version, the lowest of the
    new ones becomes stable. The caller holds `alone`.

    Args:
        root: the repository.
        staged: versions on the same disk that `ModelRepository.open` has passed; 1 or more, of one model. A version
            that is there already, and is the same, stays as it is; a damaged one is replaced.
        wanted: labels that come along with the versions, as those of a deployment do.

    Raises:
        WriteError: a version of that number is there and holds something else, or is made for another task.
        InvalidModelError: the labels here cannot be read.
        OSError: it cannot be written; versions that have been moved stay, and are candidates.
    """
    name, repository = staged[0].manifest.name, ModelRepository(root)
    folder = root / name
    new = [version for version in staged if not _is_here(repository, version)]
    _same_task(repository, new)
    # Labels come before the versions: at no moment may one of them be taken for what is served.
    labels, versions = repository.labels(name), repository.versions(name)
    if not versions:
        lowest = min((version.manifest.version for version in new), key=int)
        labels = wanted if wanted.stable else Labels(stable=lowest, history=labels.history)
        set_labels(folder, labels)
    elif labels.stable is None:
        labels = Labels(stable=repository.stable(name))
        set_labels(folder, labels)
    for version in new:
        _place(root, version)
    if wanted.stable is not None and labels.stable != wanted.stable:
        set_labels(folder, moved(labels, labels.stable, wanted.stable))


def moved(labels: Labels, before: str | None, now: str) -> Labels:
    """The labels after a promotion of `now`, where `before` was served."""
    history = labels.history if before in {None, now} else (*labels.history, str(before))
    return Labels(stable=now, history=history[-MAX_HISTORY:])


def set_labels(folder: Path, labels: Labels) -> None:
    """Writes a model's labels: the old file or the new one, whenever the machine stops. The caller holds `alone`.

    Raises:
        WriteError: they cannot be written; they stay as they were.
    """
    partial = folder / _PARTIAL
    try:
        partial.write_text(labels.model_dump_json(indent=2) + "\n")
        flush(partial)
        partial.replace(folder / LABELS_FILE)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise WriteError(
            f"the label cannot be written in {folder} ({error.strerror}); it stays where it was"
        ) from error
    flush(folder)


def _place(root: Path, staged: StoredModel) -> None:
    for path in (*staged.directory.iterdir(), staged.directory):
        flush(path)
    target = root / staged.manifest.name / staged.manifest.version
    with staging(root) as old:
        if target.exists():
            target.rename(old / target.name)
        staged.directory.rename(target)
    flush(target.parent)


def _is_here(repository: ModelRepository, staged: StoredModel) -> bool:
    """Whether the same version is in the repository already; one that is damaged counts as missing."""
    name, version = staged.manifest.name, staged.manifest.version
    if version not in repository.versions(name):
        return False
    try:
        present = repository.open(name, version)
    except InvalidModelError:
        return False
    if present.manifest != staged.manifest:
        raise WriteError(
            f"version {version} of {name} is there already and holds something else: versions never change, so what is "
            "new needs a new number"
        )
    return True


def _same_task(repository: ModelRepository, staged: Sequence[StoredModel]) -> None:
    """That no classifier becomes a version of a detector, or the other way round."""
    for version in staged:
        manifest = version.manifest
        for other in repository.versions(manifest.name):
            try:
                task = repository.open(manifest.name, other).manifest.task
            except InvalidModelError:
                continue
            if task is not manifest.task:
                raise WriteError(
                    f"{manifest.name} is made to {task.value} and the new version to {manifest.task.value}: give it "
                    "another name"
                )
            break


@contextmanager
def _opened(folder: Path, flags: int = _FOLDER) -> Iterator[int]:
    handle = os.open(folder, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear(leftover: Path) -> None:
    with suppress(OSError), _opened(leftover, _FOLDER | os.O_NOFOLLOW) as handle:
        if _locked(handle):
            shutil.rmtree(leftover)
