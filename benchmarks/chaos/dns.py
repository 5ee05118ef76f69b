"""A name server for one name, whose addresses change as those of a headless service do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

_A, _INTERNET = 1, 1
_TTL = 1
_HEAD = 12
_ANSWERED = 0x8580
"""Flags: an answer, authoritative, without an error."""


class Names:
    """Answers every question for an IPv4 address with the same ones, on a UDP port of 127.0.0.1. A context.

    Attributes:
        addresses: IPv4, as text.
        port: where it listens.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._closed = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closed:
                data, caller = self._socket.recvfrom(512)
                if data:
                    self._socket.sendto(_answer(data, self.addresses), caller)


def _answer(data: bytes, addresses: list[str]) -> bytes:
    end = data.index(0, _HEAD) + 1
    (kind,) = struct.unpack_from(">H", data, end)
    found = addresses if kind == _A else []
    head = data[:2] + struct.pack(">HHHHH", _ANSWERED, 1, len(found), 0, 0)
    # 0xc00c: the name is the one of the question.
    records = [struct.pack(">HHHIH", 0xC00C, _A, _INTERNET, _TTL, 4) + socket.inet_aton(one) for one in found]
    return head + data[_HEAD : end + 4] + b"".join(records)
