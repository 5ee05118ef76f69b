"""The routing file: read at start, looked at again and again, and put into use when it has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.routing.table import RoutingTable
from serving.config_file import ConfigFileError, read_bytes, read_config
from serving.telemetry import metrics
from serving.watched_file import WatchedFile

log = logging.getLogger(__name__)


class RoutingFile:
    """A file that cannot be used changes nothing, and the metric `ferry_routing_invalid` is 1 until there is one that
    can.

    Attributes:
        table: the one that was put into use last.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConfigFileError: the file cannot be read or does not fit.
        """
        self._file = WatchedFile(
            "routing file",
            lambda: read_config(path, RoutingTable),
            # What it holds: it is small, and may be written twice in one tick of the file system's clock.
            lambda: read_bytes(path),
            errors=(ConfigFileError,),
        )
        self.table = self._file.value
        metrics.ROUTING_INVALID.set(0)

    async def follow(self, interval: float, apply: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Looks at the file every `interval` seconds, for ever, and hands each new table to `apply`."""
        while True:
            await asyncio.sleep(interval)
            try:
                table = await asyncio.to_thread(self._look)
                if table is None or table == self.table:
                    continue
                await apply(table)
            except Exception as error:
                log.exception("routing table not put into use, the former one stays: %s", error)
                metrics.ROUTING_INVALID.set(1)
            else:
                self.table = table

    def _look(self) -> RoutingTable | None:
        """The table, where the file has changed and can be used."""
        changed = self._file.look()
        if self._file.problem:
            metrics.ROUTING_INVALID.set(1)
            return None
        metrics.ROUTING_INVALID.set(0)
        return self._file.value if changed else None
