"""The connections of a gRPC server, seen by their sockets. gRPC neither shows them nor ends a single one of them."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import unquote

from serving.telemetry import metrics

IDLE_SECONDS = 1.0
"""Without a call, after which a connection gives way to new ones."""
_CROWDED, _ENOUGH = 0.9, 0.5
"""Shares of the connections that there may be: from the first on idle ones end, until the second is reached."""
_OPEN_FILES = Path("/dev/fd")
_Address: TypeAlias = "tuple[str, int]"


class Callers(Protocol):
    """Calls that are open.

    Attributes:
        peers: that made them, by the names that gRPC gives them.
    """

    @property
    def peers(self) -> Iterable[str]: ...


class Connections:
    """Of one port. One event loop."""

    def __init__(self, most: int, port: Callable[[], int]) -> None:
        """
        Args:
            most: that gRPC takes; it closes one more at once.
            port: of this process, that they come to.
        """
        self._most = most
        self._port = port
        self._idle: dict[_Address, float] = {}
        """Since when nobody has called on them, as far as was looked."""
        self._ended = metrics.REJECTED.labels("idle")

    def hang_up(self, peer: str) -> bool:
        """Ends the connection of a peer with all its calls, and so frees what gRPC holds for it.

        Args:
            peer: as `grpc.ServicerContext.peer` gives it, such as `ipv4:10.0.0.7:4711`.

        Returns:
            Whether it was found: it may be gone already, come over something else than TCP, or the system may not say.
        """
        there = _address(peer)
        if there is not None:
            for number, address in self._found():
                if address == there:
                    return self._shut(number, address)
        return False

    def make_room(self, calls: Callers) -> None:
        """Where there are nearly as many as there may be, ends those on which nobody calls, the oldest first.

        To be called about once a second: what it finds idle twice, a second apart, is.

        Args:
            calls: those that are open.
        """
        if len(_numbers()) < _CROWDED * self._most:
            self._idle.clear()
            return
        found = list(self._found())
        if len(found) < _CROWDED * self._most:
            self._idle.clear()
            return
        now, called_on = time.monotonic(), {_address(peer) for peer in calls.peers}
        numbers = {address: number for number, address in found if address not in called_on}
        self._idle = {address: since for address, since in self._idle.items() if address in numbers}
        self._idle |= {address: now for address in numbers if address not in self._idle}
        spare = len(found) - int(_ENOUGH * self._most)
        for address in [one for one, since in self._idle.items() if now - since >= IDLE_SECONDS][:spare]:
            if self._shut(numbers[address], address):
                self._ended.inc()

    def _found(self) -> Iterator[tuple[int, _Address]]:
        for number in _numbers():
            with suppress(OSError), _same(number) as one:
                address = self._peer(one)
                if address is not None:
                    yield number, address

    def _shut(self, number: int, address: _Address) -> bool:
        # Looked at again: what gRPC has closed meanwhile may be another's number by now.
        with suppress(OSError), _same(number) as one:
            if self._peer(one) == address:
                one.shutdown(socket.SHUT_RDWR)
                return True
        return False

    def _peer(self, one: socket.socket) -> _Address | None:
        """Who is at the other end; None where it did not come to this port."""
        if one.family not in {socket.AF_INET, socket.AF_INET6} or one.type != socket.SOCK_STREAM:
            return None
        return _plain(*one.getpeername()[:2]) if one.getsockname()[1] == self._port() else None


def _numbers() -> list[int]:
    """File descriptors of this process; none where the system does not say."""
    try:
        return [int(path.name) for path in _OPEN_FILES.iterdir()]
    except OSError:
        return []


@contextmanager
def _same(number: int) -> Iterator[socket.socket]:
    """A socket by a second descriptor, which nobody else closes.

    Raises:
        OSError: it is none, or there are no descriptors left.
    """
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise OSError(f"{number} is no socket")
    with socket.socket(fileno=os.dup(number)) as one:
        yield one


def _address(peer: str) -> _Address | None:
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in {"ipv4", "ipv6"} or not port.isdigit():
        return None
    try:
        return _plain(host.strip("[]"), int(port))
    except ValueError:
        return None


def _plain(host: str, port: int) -> _Address:
    """One spelling for each address: an IPv4 one may come as IPv6, and an IPv6 one with its interface."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address), port
