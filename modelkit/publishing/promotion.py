"""Moves the label `stable` of a model: forward to a version that has shown it answers, and back."""

from __future__ import annotations

import logging
from pathlib import Path

from modelkit.judging.verify import verify
from serving.errors import NotFoundError
from serving.models.backends import ModelLoadError
from serving.repository.labels import Labels
from serving.repository.repository import InvalidModelError, ModelRepository
from serving.repository.write import WriteError, alone, moved, set_labels

log = logging.getLogger(__name__)


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

    Versions that are gone from the repository, or do not answer, are passed over; the log says which.

    Returns:
        What was served before, and what is now.

    Raises:
        PromotionError: no version that was stable before is there and answers.
        InvalidModelError: the file of labels must not be used.
        WriteError: the label cannot be written, or another promotion or publish of this model is running.
    """
    repository = ModelRepository(models_dir)
    if not repository.versions(name):
        raise PromotionError(f"there is no model {name!r} in {models_dir}; it has {', '.join(repository.names())}")
    with alone(models_dir / name):
        labels, before = repository.labels(name), str(repository.stable(name))
        for count in range(len(labels.history), 0, -1):
            target = labels.history[count - 1]
            try:
                verify(repository.open(name, target))
            except (NotFoundError, InvalidModelError, ModelLoadError) as error:
                log.warning("%s %s is passed over: %s", name, target, error)
                continue
            set_labels(models_dir / name, Labels(stable=target, history=labels.history[: count - 1]))
            return before, target
    raise PromotionError(f"nothing good was stable before {before}: promote another version of {name} instead")
