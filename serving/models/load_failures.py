"""Versions that could not be loaded: tried again when their files change, and now and then anyway."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ferry.v1 import types_pb2
from serving.telemetry import metrics
from serving.watched_file import Signature

log = logging.getLogger(__name__)

_FIRST_SECONDS, _MAX_SECONDS = 10.0, 600.0
"""Between two attempts, doubled each time. A load can fail for want of memory, for a disk that does not answer or for a
broken file, and what it says does not tell which."""


@dataclass(slots=True)
class _Failure:
    files: Signature
    attempts: int
    again_at: float
    """time.monotonic() seconds."""


class LoadFailures:
    """Failures in a row, by name and version of the model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: seconds.
        """
        self._clock = clock
        self._failures: dict[tuple[str, str], _Failure] = {}

    def is_due(self, name: str, version: str, files: Signature) -> bool:
        """Whether to load a version with `files`."""
        failure = self._failures.get((name, version))
        return failure is None or failure.files != files or self._clock() >= failure.again_at

    def failed(self, name: str, version: str, files: Signature, error: Exception) -> None:
        """It could not be loaded."""
        former = self._failures.get((name, version))
        attempts = 1 if former is None or former.files != files else former.attempts + 1
        pause = min(_FIRST_SECONDS * 2 ** min(attempts - 1, 16), _MAX_SECONDS)
        self._failures[name, version] = _Failure(files, attempts, self._clock() + pause)
        self._show(name)
        log.error(
            "%s %s is not taken into service, tried again in %g s: %s",
            name,
            version,
            pause,
            error,
            extra={"attempts": attempts},
        )

    def forget(self, name: str, wanted: Collection[str]) -> None:
        """Forgets versions of `name` that nobody wants any more, or that could be loaded."""
        for key in [key for key in self._failures if key[0] == name and key[1] not in wanted]:
            del self._failures[key]
        self._show(name)

    def _show(self, name: str) -> None:
        attempts = [failure.attempts for (failed, _), failure in self._failures.items() if failed == name]
        metrics.LOAD_FAILURES.labels(name).set(max(attempts, default=0))

    def newest(self, name: str) -> types_pb2.LoadFailure | None:
        """Of the newest version of `name` that could not be loaded."""
        found = [version for failed, version in self._failures if failed == name]
        if not found:
            return None
        version = max(found, key=int)
        failure = self._failures[name, version]
        message = types_pb2.LoadFailure(version=version, attempts=failure.attempts)
        message.retry_time.FromSeconds(int(time.time() + failure.again_at - self._clock()))
        return message
