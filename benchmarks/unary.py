"""Unary gRPC calls over HTTP/2, with as little as a client can do: it shares the server's CPUs.

A connection has one call at a time, as those of HTTP/1.1 have here. RFC 9113, and gRPC over HTTP/2 (grpc/doc).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from itertools import cycle
from typing import Self

import grpc
from hpack import Decoder, HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
_ACK, _END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_TABLE, _INITIAL_WINDOW, _MAX_WINDOW = 0x1, 0x4, (1 << 31) - 1
_CANCEL = struct.pack(">I", 0x8)
_CODES: dict[bytes, str] = {b"%d" % code.value[0]: code.name for code in grpc.StatusCode}
_DEFAULT_WINDOW, _FRAME = 65_535, 16_384
_PREFIX = struct.Struct(">BI")
"""Of a message: not compressed, and its length."""


class UnaryError(Exception):
    """A call without an answer.

    Attributes:
        code: gRPC's name of its status; UNKNOWN where the server gave none.
    """

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code


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
        self._heads: dict[tuple[str, float], bytes] = {}
        self._status = "UNKNOWN"
        self._stream = -1
        self._stream_window = self._start = self._window = _DEFAULT_WINDOW

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Raises OSError where nobody listens."""
        connection = cls(*await asyncio.open_connection(host, port, limit=1 << 20), f"{host}:{port}")
        # Without a table each block of headers is read by itself, and those that say nothing here are not.
        allowed = struct.pack(">HIHI", _TABLE, 0, _INITIAL_WINDOW, _MAX_WINDOW)
        more = struct.pack(">I", _MAX_WINDOW - _DEFAULT_WINDOW)
        connection._writer.write(PREFACE + _frame(SETTINGS, 0, 0, allowed) + _frame(WINDOW_UPDATE, 0, 0, more))
        return connection

    async def call(self, path: str, message: bytes, seconds: float = 0.0) -> bytes:
        """The answer to one message. A call that is cancelled leaves a connection that is of no further use.

        Args:
            path: such as `/ferry.v1.ExpressionRecognition/Recognize`.
            message: serialized.
            seconds: what the server is told of its deadline; 0: nothing.

        Raises:
            UnaryError: the call ended without an answer.
            OSError, asyncio.IncompleteReadError: the connection ended.
        """
        if self.leaving or self._reader.at_eof():
            raise LeftError("the connection had ended")
        self._stream += 2
        self._stream_window = self._start
        self._status = "UNKNOWN"
        head = self._heads.get((path, seconds)) or self._heads.setdefault((path, seconds), self._head(path, seconds))
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
        if sent < len(body):  # the server has said all; what it has not been sent stays here
            self._writer.write(_frame(RST_STREAM, 0, self._stream, _CANCEL))
        if self._status != "OK":
            raise UnaryError(f"{path} was not answered: {self._status}", self._status)
        if len(answer) < _PREFIX.size or len(answer) != _PREFIX.size + _PREFIX.unpack_from(answer)[1]:
            raise UnaryError(f"{path} was answered without a whole message")
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
            elif kind == HEADERS and flags & _END_STREAM:
                self._status = _status(body, flags)
            return bool(kind in {DATA, HEADERS} and flags & _END_STREAM)
        return False

    def _head(self, path: str, seconds: float) -> bytes:
        """As HPACK has it without its tables (RFC 7541, section 6.2.2), the same for every call."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": self._authority,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        if seconds:
            fields["grpc-timeout"] = f"{round(seconds * 1000)}m"
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


class Pool:
    """Calls to several servers in turn, each over a connection that no other call has meanwhile. One event loop."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        """
        Args:
            addresses: host and port of each, at least one.
        """
        self._idle: dict[tuple[str, int], list[Connection]] = {address: [] for address in addresses}
        self._turn = cycle(self._idle)

    async def call(self, path: str, message: bytes, seconds: float) -> bytes:
        """The answer to one message, from whose turn it is.

        Args:
            path: as `Connection.call`.
            message: serialized.
            seconds: the call's deadline.

        Raises:
            UnaryError: the call ended without an answer.
        """
        address = next(self._turn)
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(address, path, message, seconds)
        except TimeoutError:
            raise UnaryError(f"{path} was not answered in {seconds:g} s", "DEADLINE_EXCEEDED") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise UnaryError(f"{path} was not answered: {error}", "UNAVAILABLE") from error

    async def _ask(self, address: tuple[str, int], path: str, message: bytes, seconds: float) -> bytes:
        idle = self._idle[address]
        while True:
            fresh = not idle
            connection = await Connection.open(*address) if fresh else idle.pop()
            try:
                answer = await connection.call(path, message, seconds)
            except LeftError:  # as gRPC's own clients do, that call goes over another one
                connection.close()
                if fresh:
                    raise
            except UnaryError:
                self._keep(idle, connection)
                raise
            except BaseException:
                connection.close()
                raise
            else:
                self._keep(idle, connection)
                return answer

    @staticmethod
    def _keep(idle: list[Connection], connection: Connection) -> None:
        if connection.leaving:
            connection.close()
        else:
            idle.append(connection)

    def close(self) -> None:
        """Ends the connections on which nobody calls."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()


def addresses(text: str) -> list[tuple[str, int]]:
    """Host and port of each of `host:port,host:port`.

    Raises:
        ValueError: one is not of that form.
    """
    found = []
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdecimal() or "/" in host:
            raise ValueError(f"must be host:port, or several with commas between them, not {text!r}")
        found.append((host.strip("[]"), int(port)))
    return found


def _status(body: bytes, flags: int) -> str:
    """The name of the status that the last headers of a call give; UNKNOWN: none that gRPC knows.

    Args:
        body: of the frame, in which a gRPC server sends all of them.
        flags: of the frame.
    """
    start, end = (1, len(body) - body[0]) if flags & _PADDED else (0, len(body))
    decoder = Decoder()
    decoder.header_table_size = 0
    try:
        fields = decoder.decode(body[start + (5 if flags & _PRIORITY else 0) : end], raw=True)
    except HPACKError:
        return "UNKNOWN"
    return next((_CODES.get(value, "UNKNOWN") for name, value in fields if name == b"grpc-status"), "UNKNOWN")


def _text(value: str) -> bytes:
    data = value.encode()
    assert len(data) < 127, "longer ones have another form"
    return bytes([len(data)]) + data


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body
