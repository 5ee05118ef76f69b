"""What a judge takes from a variant before the routing file says so: one small record in Redis.

A file that Kubernetes mounts follows its ConfigMap within about a minute. The record counts only for the tables that it
names, which are older than it: another file ends it, so that the file, and with it a person, always wins.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import Field, ValidationError

from gateway.routing.table import NAME_PATTERN
from gateway.store.client import StoreClient, StoreError, StoreRefusedError
from serving.frozen import Frozen

log = logging.getLogger(__name__)

KEY: Final = "ferry:routing:1:withdrawn"
SECONDS: Final = 600
"""That a record lives: ten times what a kubelet takes."""
MOST_TABLES: Final = 8
MOST_WORDS: Final = 300
"""Characters of a reason or a name."""
_MOST_BYTES = 8192
"""Of a record; what is larger is none."""


class Withdrawal(Frozen):
    """A variant whose callers `stable` answers."""

    variant: str = Field(pattern=NAME_PATTERN, description="whose callers are stable's")
    tables: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = Field(
        min_length=1, max_length=MOST_TABLES, description="SHA-256 of the routing files for which that counts"
    )
    reason: str = Field(max_length=MOST_WORDS, description="why, in words")
    by: str = Field(max_length=MOST_WORDS, description="name of the judge")


def digest(table: bytes) -> str:
    """Of a routing file as it is, 64 hexadecimal digits."""
    return hashlib.sha256(table).hexdigest()


class Withdrawals:
    """Looks the record up. Whatever Redis does or holds, nobody waits for it longer than the client's timeouts."""

    def __init__(self, store: StoreClient, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            store: started and stopped by whoever made it.
            clock: seconds of a clock that nobody sets.
        """
        self._store = store
        self._clock = clock
        self._found: Withdrawal | None = None
        self._seen_at = 0.0
        self._problem = ""

    async def look(self) -> Withdrawal | None:
        """The record that is there. While Redis does not say it is the last one, for as long as a record lives."""
        try:
            # A range and not the whole, so that a huge value under the key is not read.
            value = await self._store.command(lambda redis: redis.getrange(KEY, 0, _MOST_BYTES))
        except StoreError as error:
            if isinstance(error, StoreRefusedError):
                self._tell(str(error))
            if self._clock() - self._seen_at > SECONDS:
                self._found = None
        else:
            self._found, self._seen_at = self._read(value), self._clock()
        return self._found

    def _read(self, value: str | bytes) -> Withdrawal | None:
        found, problem = None, ""
        if len(value) > _MOST_BYTES:
            problem = f"more than {_MOST_BYTES} bytes"
        elif value:
            try:
                found = Withdrawal.model_validate_json(value)
            except ValidationError as error:
                problem = f"{error.error_count()} faults in it"
        self._tell(problem)
        return found

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("%s in Redis is no withdrawal and changes nothing: %s", KEY, problem)
        self._problem = problem
