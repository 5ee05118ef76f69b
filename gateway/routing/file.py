"""The routing file: read at start, looked at again and again, and put into use when it has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.routing.table import RoutingTable
from serving.config_file import ConfigFileError, parse_config, read_bytes
from serving.telemetry import metrics

log = logging.getLogger(__name__)


class RoutingFile:
    """Compares what the file holds, not when it was written: Kubernetes replaces a mounted ConfigMap by swapping a
    symbolic link, behind which the new file may have any time. A file that cannot be used changes nothing: it is
    logged once, and the metric `ferry_routing_invalid` is 1 until there is one that can.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConfigFileError: the file cannot be read or does not fit.
        """
        self._path = path
        self._seen: bytes | str = read_bytes(path)
        self.table = parse_config(path, self._seen, RoutingTable)
        metrics.ROUTING_INVALID.set(0)

    async def follow(self, interval: float, apply: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Looks at the file every `interval` seconds, for ever, and hands each new table to `apply`."""
        while True:
            await asyncio.sleep(interval)
            table = await asyncio.to_thread(self._look)
            if table is None or table == self.table:
                continue
            try:
                await apply(table)
            except Exception as error:
                log.exception("routing table not put into use, the former one stays: %s", error)
                metrics.ROUTING_INVALID.set(1)
            else:
                self.table = table

    def _look(self) -> RoutingTable | None:
        """The table, where the file has changed and can be used."""
        found: bytes | str
        try:
            found = read_bytes(self._path)
            table = None if found == self._seen else parse_config(self._path, found, RoutingTable)
        except ConfigFileError as error:
            if str(error) != self._seen:
                log.error("routing file not used, the former table stays: %s", error)
                metrics.ROUTING_INVALID.set(1)
            self._seen = str(error)
            return None
        self._seen = found
        metrics.ROUTING_INVALID.set(0)
        return table
