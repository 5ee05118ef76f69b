"""Unary gRPC calls over HTTP/2, with as little as a client can do: it shares the server's CPUs.

A connection has one call at a time, as those of HTTP/1.1 have here. RFC 9113, and gRPC over HTTP/2 (grpc/doc).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
_ACK, _END_STREAM, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW, _MAX_WINDOW = 0x4, (1 << 31) - 1
_DEFAULT_WINDOW, _FRAME = 65_535, 16_384
_PREFIX = struct.Struct(">BI")
"""Of a message: not compressed, and its length."""


class UnaryError(Exception):
    """A call without an answer."""


class LeftError(UnaryError):
    """The server had left the connection before it took the call: it may be made over another one."""


class Connection:
    """One connection to a server. One event loop; one call at a time.

    Attributes:
        leaving: the server takes no further call over it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self._reader, self._writer = reader, writer
        self._authority = authority
        self.leaving = False
        self._heads: dict[str, bytes] = {}
        self._stream = -1
        self._stream_window = self._start = self._window = _DEFAULT_WINDOW

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Raises OSError where nobody listens."""
        connection = cls(*await asyncio.open_connection(host, port, limit=1 << 20), f"{host}:{port}")
        allowed = struct.pack(">HI", _INITIAL_WINDOW, _MAX_WINDOW)
        more = struct.pack(">I", _MAX_WINDOW - _DEFAULT_WINDOW)
        connection._writer.write(PREFACE + _frame(SETTINGS, 0, 0, allowed) + _frame(WINDOW_UPDATE, 0, 0, more))
        return connection

    async def call(self, path: str, message: bytes) -> bytes:
        """The answer to one message.

        Args:
            path: such as `/ferry.v1.ExpressionRecognition/Recognize`.
            message: serialized.

        Raises:
            UnaryError: the call ended without an answer.
            OSError, asyncio.IncompleteReadError: the connection ended.
        """
        if self.leaving or self._reader.at_eof():
            raise LeftError("the connection had ended")
        self._stream += 2
        self._stream_window = self._start
        head = self._heads.get(path) or self._heads.setdefault(path, self._head(path))
        body = _PREFIX.pack(0, len(message)) + message
        parts = [_frame(HEADERS, _END_HEADERS, self._stream, head)]
        answer = bytearray()
        sent = 0
        while True:
            while sent < len(body) and (room := min(self._window, self._stream_window, _FRAME)) > 0:
                part = body[sent : sent + room]
                sent += len(part)
                self._window -= len(part)
                self._stream_window -= len(part)
                parts.append(_frame(DATA, _END_STREAM if sent == len(body) else 0, self._stream, part))
            if parts:
                self._writer.write(b"".join(parts))
                parts.clear()
            if await self._take(answer):
                break
        if len(answer) < _PREFIX.size or len(answer) != _PREFIX.size + _PREFIX.unpack_from(answer)[1]:
            raise UnaryError(f"{path} was not answered")
        return bytes(answer[_PREFIX.size :])

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()

    async def _take(self, answer: bytearray) -> bool:
        """Takes the next frame in; whether it ended the call."""
        try:
            head = await self._reader.readexactly(9)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if self.leaving and not answer:
                raise LeftError("the connection had ended") from error
            raise
        size, kind, flags = head[0] << 16 | head[1] << 8 | head[2], head[3], head[4]
        stream = int.from_bytes(head[5:], "big")
        body = await self._reader.readexactly(size)
        if kind == GOAWAY:
            self.leaving = True
            if int.from_bytes(body[:4], "big") < self._stream:
                raise LeftError("the server has left the connection")
        if kind == RST_STREAM and stream == self._stream:
            raise UnaryError("the server ended the call")
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(body, "big")
            if stream == 0:
                self._window += more
            elif stream == self._stream:
                self._stream_window += more
        elif kind == SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", body):
                if name == _INITIAL_WINDOW:
                    self._stream_window += value - self._start
                    self._start = value
            self._writer.write(_frame(SETTINGS, _ACK, 0))
        elif kind == PING and not flags & _ACK:
            self._writer.write(_frame(PING, _ACK, 0, body))
        elif stream == self._stream:
            if kind == DATA:
                answer += body
            return bool(kind in {DATA, HEADERS} and flags & _END_STREAM)
        return False

    def _head(self, path: str) -> bytes:
        """As HPACK has it without its tables (RFC 7541, section 6.2.2), the same for every call."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": self._authority,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(value: str) -> bytes:
    data = value.encode()
    assert len(data) < 127, "longer ones have another form"
    return bytes([len(data)]) + data


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body
