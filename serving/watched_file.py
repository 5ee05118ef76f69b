"""Files that change while a service runs: certificates, API keys, tables, models. One way to notice it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
Signature = tuple[tuple[str, int, int, int, int, int], ...]


def signature(paths: Iterable[Path]) -> Signature:
    """Of files as they are: another one means that a file was changed or exchanged.

    It follows links, so that a mounted ConfigMap or Secret, which is replaced by swapping a link, counts as exchanged.
    The time of the last change is the file system's own: unlike the modification time nobody can set it back.

    Raises:
        OSError: one is not there.
    """
    found = []
    for path in paths:
        status = path.stat()
        found.append((path.name, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(sorted(found))


class WatchedFile(Generic[T]):
    """What was read of files, read again when they have changed. Files that cannot be used change nothing: each problem
    is logged once, and they are tried again at every look.

    Attributes:
        value: what was read last.
        problem: why the files cannot be used as they are now; empty while they can.
    """

    def __init__(
        self,
        what: str,
        read: Callable[[], T],
        signature: Callable[[], Hashable],
        *,
        errors: tuple[type[Exception], ...],
        least_seconds: float = 0.0,
    ) -> None:
        """
        Args:
            what: name of the files in logs.
            read: reads and checks them.
            signature: differs when they have changed; cheaper than `read`.
            errors: what `read` and `signature` raise where the files cannot be used.
            least_seconds: between two looks; earlier ones do nothing.

        Raises:
            Exception: one of `errors`.
        """
        self._what = what
        self._read = read
        self._signature = signature
        self._errors = errors
        self._least_seconds = least_seconds
        # Before it is read: a change between the two is seen at the next look.
        self._seen = signature()
        self.value = read()
        self.problem = ""
        self._looked_at = time.monotonic()

    def look(self) -> bool:
        """Reads the files again if they have changed. True when `value` is new."""
        now = time.monotonic()
        if now - self._looked_at < self._least_seconds:
            return False
        self._looked_at = now
        try:
            found = self._signature()
            if found == self._seen:
                self.problem = ""
                return False
            value = self._read()
        except self._errors as error:
            if str(error) != self.problem:
                log.error("%s not used, what was read before stays: %s", self._what, error)
            self.problem = str(error)
            return False
        self._seen, self.value, self.problem = found, value, ""
        log.info("%s read again", self._what)
        return True
