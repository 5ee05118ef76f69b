"""Moves the label `stable` of a model: forward to a version that has shown it answers, and back."""

from __future__ import annotations

from pathlib import Path

from modelkit.judging.verify import verify
from serving.repository.labels import Labels
from serving.repository.repository import ModelRepository
from serving.repository.write import WriteError, alone, moved, set_labels


class PromotionError(WriteError):
    """The label stays where it was; the message says why."""


def promote(models_dir: Path, name: str, version: str) -> tuple[str | None, str]:
    """Makes a version the one that services following `stable` serve.

    The version is verified first (digests, loading, the shape of its answers). Running services pick it up at their
    next look at the repository, without a failed request.

    Args:
        models_dir: the model repository.
        name: of the model.
        version: a decimal number, or `latest`.

    Returns:
        What was served before, and what is now.

    Raises:
        NotFoundError: no such model or version.
        InvalidModelError: the version, or the file of labels, must not be used.
        ModelLoadError: no backend can load it.
        WriteError: the label cannot be written, or another promotion or publish of this model is running.
    """
    repository = ModelRepository(models_dir)
    stored = repository.open(name, version)
    verify(stored)
    with alone(models_dir / name):
        labels, before = repository.labels(name), repository.stable(name)
        now = stored.manifest.version
        if labels.stable != now:
            set_labels(models_dir / name, moved(labels, before, now))
    return before, now


def rollback(models_dir: Path, name: str) -> tuple[str, str]:
    """Makes the version that was stable before the last promotion stable again.

    Versions that are gone from the repository are passed over.

    Returns:
        What was served before, and what is now.

    Raises:
        PromotionError: nothing has been promoted, so that there is nothing to go back to.
        InvalidModelError: the version to go back to, or the file of labels, must not be used.
        WriteError: the label cannot be written, or another promotion or publish of this model is running.
    """
    repository = ModelRepository(models_dir)
    if not repository.versions(name):
        raise PromotionError(f"there is no model {name!r} in {models_dir}; it has {', '.join(repository.names())}")
    with alone(models_dir / name):
        labels, versions = repository.labels(name), repository.versions(name)
        left = list(labels.history)
        while left and left[-1] not in versions:
            left.pop()
        if labels.stable is None or not left:
            served = repository.stable(name)
            raise PromotionError(f"nothing was stable before {served}: promote another version of {name} instead")
        target = left.pop()
        verify(repository.open(name, target))
        set_labels(models_dir / name, Labels(stable=target, history=tuple(left)))
    return labels.stable, target
