"""A listening socket with a bound on connections that counts them from the moment they are there: one that never ends
its TLS handshake is none that the application sees."""

from __future__ import annotations

import socket
import weakref
from typing import Any


class BoundedSocket(socket.socket):
    """Closes one more than there may be at once."""

    def __init__(self, most: int, family: int) -> None:
        """
        Args:
            most: connections at once.
            family: such as socket.AF_INET.
        """
        super().__init__(family, socket.SOCK_STREAM)
        self._most = most
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if len(self._accepted) >= self._most:
            for one in list(self._accepted):
                if one.fileno() < 0:
                    self._accepted.discard(one)
        if len(self._accepted) >= self._most:
            connection.close()
            # As if nobody had come: the loop asks again when somebody does.
            raise BlockingIOError
        self._accepted.add(connection)
        return connection, address
