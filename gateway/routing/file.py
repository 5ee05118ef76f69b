"""The routing file: read at start, looked at again and again, and put into use when it has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.routing.table import STABLE, RoutingTable
from gateway.routing.withdrawal import Withdrawal, Withdrawals, digest
from serving.config_file import ConfigFileError, parse_config, read_bytes
from serving.telemetry import metrics
from serving.watched_file import WatchedFile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """Attributes:
    table: that the file holds.
    digest: of its bytes.
    """

    table: RoutingTable
    digest: str


class RoutingFile:
    """A file that cannot be used changes nothing, and the metric `ferry_routing_invalid` is 1 until there is one that
    can. Callers of a variant that a judge has withdrawn from this very file are stable's.

    Attributes:
        table: the one that was put into use last.
    """

    def __init__(self, path: Path, withdrawals: Withdrawals | None = None) -> None:
        """
        Args:
            path: of the file.
            withdrawals: what judges withdraw; None: nothing.

        Raises:
            ConfigFileError: the file cannot be read or does not fit.
        """
        self._file = WatchedFile(
            "routing file",
            lambda: _read(path),
            # What it holds: it is small, and may be written twice in one tick of the file system's clock.
            lambda: read_bytes(path),
            errors=(ConfigFileError,),
        )
        self._withdrawals = withdrawals
        self._withdrawn: Withdrawal | None = None
        self._failure = ""
        self.table = self._file.value.table
        metrics.ROUTING_INVALID.set(0)

    async def follow(self, interval: float, apply: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Looks at the file every `interval` seconds, for ever, and hands each new table to `apply`.

        A table that `apply` fails with is handed to it again at every look.
        """
        while True:
            failure = ""
            try:
                await self._look(apply)
            except Exception as error:
                failure = repr(error)
                if failure != self._failure:
                    log.exception("routing table not put into use, the former one stays: %s", error)
            self._failure = failure
            metrics.ROUTING_INVALID.set(bool(failure or self._file.problem))
            await asyncio.sleep(interval)

    async def _look(self, apply: Callable[[RoutingTable], Awaitable[None]]) -> None:
        await asyncio.to_thread(self._file.look)
        self._take(await self._withdrawal())
        table = self._file.value.table
        if self._withdrawn is not None:
            table = table.without(self._withdrawn.variant)
        if table != self.table:
            await apply(table)
            self.table = table

    async def _withdrawal(self) -> Withdrawal | None:
        """What counts for the file as it is."""
        read = self._file.value
        others = {entry.name for entry in read.table.variants if entry.weight > 0 and entry.name != STABLE}
        if self._withdrawals is None or not others:
            return None
        found = await self._withdrawals.look()
        return found if found is not None and found.variant in others and read.digest in found.tables else None

    def _take(self, withdrawal: Withdrawal | None) -> None:
        former, self._withdrawn = self._withdrawn, withdrawal
        name = "" if withdrawal is None else withdrawal.variant
        if former is not None and former.variant != name:
            with suppress(KeyError):
                metrics.VARIANT_WITHDRAWN.remove(former.variant)
            log.info("the routing file decides again", extra={"variant": former.variant})
        if withdrawal is not None and (former is None or former.variant != name):
            metrics.VARIANT_WITHDRAWN.labels(name).set(1)
            extra = {"variant": name, "reason": withdrawal.reason, "judge": withdrawal.by}
            log.warning("withdrawn by a judge, before the routing file says so", extra=extra)


def _read(path: Path) -> _Read:
    data = read_bytes(path)
    return _Read(parse_config(path, data, RoutingTable), digest(data))
