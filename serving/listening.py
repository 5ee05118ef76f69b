"""Listening sockets for servers of asyncio, and why there can be none."""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

_SHORT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_ELSEWHERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class ListeningSocket(socket.socket):
    """Of TCP. Where the system has nothing left for a connection, it is asked once a second.

    asyncio would ask, and log that it failed, once for each connection that may wait, and would begin anew a second
    after each of these times.
    """

    def __init__(self, host: str) -> None:
        """
        Args:
            host: to listen on; in brackets or not where it is of IPv6.
        """
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._host = host
        self._short = False

    def begin(self, port: int, backlog: int) -> None:
        """Listens; closes itself where it cannot.

        Args:
            port: 0: a free one.
            backlog: connections that wait to be taken.

        Raises:
            OSError: the address is taken or not ours.
        """
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it. Headers and body are sent one after the other; without it the second would wait
            # until the receiver acknowledges the first: 40 ms, for every answer but the first of a connection.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bind(self, self._host, port)
            self.listen(backlog)
            self.setblocking(False)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        if self._short:
            self._short = False
            # As if nobody waited: asyncio has been told, and comes back after a second.
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            self._short = error.errno in _SHORT
            raise


def bind(one: socket.socket, host: str, port: int) -> None:
    """
    Args:
        one: of the family of `host`.
        host: in brackets or not where it is of IPv6.
        port: 0: a free one.

    Raises:
        OSError: the address is taken or not ours.
    """
    try:
        one.bind((host.strip("[]"), port))
    except TypeError as error:  # it can be no name of a host, such as one with two dots in a row
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from error


def refusal(host: str, port: int) -> OSError | None:
    """Why nobody could listen there now; None where somebody could.

    Args:
        host: in brackets or not where it is of IPv6.
        port: 0: any.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind(probe, host, port)
    except OSError as error:
        return error
    return None


def is_elsewhere(error: OSError) -> bool:
    """Whether it is because the host is no address of this machine."""
    return isinstance(error, socket.gaierror) or error.errno in _ELSEWHERE


def why(error: OSError, host: str) -> str:
    """The reason why `host` cannot be listened on, and which setting is to be changed where it is that one."""
    if is_elsewhere(error):
        return f"{host} is no address of this machine; choose another with --host (FERRY_HOST)"
    return error.strerror or str(error)
