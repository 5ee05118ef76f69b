"""A listening socket that does what the application cannot: it sees no connection before the TLS handshake has ended.
Connections are bounded from the moment they are there, and who speaks plain HTTP where TLS is spoken is told so."""

from __future__ import annotations

import contextlib
import re
import socket
import time
import weakref
from collections.abc import Callable, Collection
from typing import Any, Final

from gateway.http.problems import Problem
from serving.listening import ListeningSocket

_REQUEST: Final = re.compile(rb"[A-Z]{3,10} [^ ]")
_PLAIN: Final = Problem(400, "this port speaks TLS; ask it with https://").raw()
"""To a request without TLS; the handshake that it is taken for fails after it."""


MOST_AT_ONCE: Final = 8
"""Connections that are taken before the event loop goes on with those that are there. It would take all that wait, as
many as two thousand, and whoever connects and leaves again and again would have it do nothing else."""
BEGIN_SECONDS: Final = 1.0
"""For a TLS handshake; then its connection gives way to a new one, where there are as many as may be."""


class BoundedSocket(ListeningSocket):
    """Closes one more than there may be at once, where none of those that are there gives way to it.

    First of all the oldest gives way that has not begun: whose TLS handshake has not ended after a second.
    """

    def __init__(
        self,
        most: int,
        host: str,
        make_room: Callable[[], bool],
        begun: Callable[[], Collection[int]],
        *,
        tls: bool = False,
    ) -> None:
        """
        Args:
            most: connections at once.
            host: to listen on.
            make_room: ends a connection that nothing is asked on; whether there was one.
            begun: file descriptors of those that the application sees.
            tls: whether connections have to begin with a TLS handshake.
        """
        super().__init__(host)
        self._most = most
        self._make_room = make_room
        self._begun = begun
        self._tls = tls
        self._accepted: weakref.WeakKeyDictionary[socket.socket, float] = weakref.WeakKeyDictionary()
        """When each came, the oldest first."""
        self._taken = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self._taken == MOST_AT_ONCE:
            self._taken = 0
            # As if nobody waited: the loop asks again in its next turn.
            raise BlockingIOError
        self._taken += 1
        connection, address = super().accept()
        if len(self._accepted) >= self._most:
            for one in list(self._accepted):
                if one.fileno() < 0:
                    del self._accepted[one]
        if len(self._accepted) >= self._most and not self._end_unbegun() and not self._make_room():
            connection.close()
            # As if nobody had come: the loop asks again when somebody does.
            raise BlockingIOError
        if self._tls:
            connection = _TlsSocket(fileno=connection.detach())
        self._accepted[connection] = time.monotonic()
        return connection, address

    def _end_unbegun(self) -> bool:
        """Ends the oldest connection that should have begun; whether there was one."""
        begun, late = self._begun(), time.monotonic() - BEGIN_SECONDS
        for one, since in self._accepted.items():
            if since > late:
                return False
            if one.fileno() not in begun:
                del self._accepted[one]
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                return True
        return False


class _TlsSocket(socket.socket):
    """Of a connection that has to begin with a TLS handshake."""

    _begun = False

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, nbytes, flags)
        if not self._begun and count:
            self._begun = True
            if _REQUEST.match(memoryview(buffer)[: min(count, 12)]):
                with contextlib.suppress(OSError):
                    self.send(_PLAIN)
        return count
