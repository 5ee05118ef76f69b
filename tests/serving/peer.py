"""A peer that speaks HTTP/2 frame by frame, to do what no gRPC client does: stop in the middle, or send no message."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

_FIRST = ((":method", "POST"), (":scheme", "http"), (":authority", "x"))
_THEN = (("content-type", "application/grpc"), ("te", "trailers"))
_PATIENCE = 20.0


def framed(message: bytes, length: int | None = None, *, compressed: bool = False) -> bytes:
    """`message` as gRPC sends it; `length`: what it says of itself."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._statuses: dict[int, tuple[int, str]] = {}
        self._answered: set[int] = set()
        self.closed = False
        self.sent = 0
        """Bytes of messages."""

    @property
    def name(self) -> tuple[str, int]:
        """Its address, as the other side sees it."""
        host, port = self._writer.get_extra_info("sockname")[:2]
        return host, port

    async def start(self, *, hasty: bool = False) -> None:
        self._connection.initiate_connection()
        await self._flush()
        while not hasty and not self._connection.remote_settings.max_concurrent_streams < 1 << 31:
            await self._hear()

    async def call(self, path: str, *metadata: tuple[str, str], end: bool = False) -> int:
        """Opens a call and sends its metadata."""
        stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream, [*_FIRST, (":path", path), *_THEN, *metadata], end)
        await self._flush()
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = False, patience: float = 0.3) -> int:
        """Sends `data` for as long as the other side gives room; the bytes that it took."""
        sent = 0
        while sent < len(data):
            try:
                room = self._connection.local_flow_control_window(stream)
                size = min(room, self._connection.max_outbound_frame_size, len(data) - sent)
                if size > 0:
                    part = data[sent : sent + size]
                    self._connection.send_data(stream, part, end_stream=end and sent + size == len(data))
                    await self._flush()
                    sent += size
                    self.sent += size
                    continue
            except h2.exceptions.ProtocolError:
                return sent
            try:
                async with asyncio.timeout(patience):
                    await self._hear()
            except TimeoutError:
                return sent
        return sent

    async def starve(self) -> None:
        """From now on, no call may send a byte of its answer."""
        self._connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await self._flush()

    async def feed(self) -> None:
        """From now on, answers may be sent again."""
        self._connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 16})
        await self._flush()

    async def until_closed(self) -> None:
        """Waits until the other side has ended the connection, which it may have to do without a word."""
        async with asyncio.timeout(_PATIENCE):
            while not self.closed:
                with suppress(h2.exceptions.ProtocolError):
                    await self._hear()

    async def status(self, stream: int) -> tuple[int, str]:
        """What the call ended with: the number of a gRPC status, and its message."""
        async with asyncio.timeout(_PATIENCE):
            while stream not in self._statuses:
                assert not self.closed, "the connection was closed without a status"
                await self._hear()
        return self._statuses[stream]

    async def answered(self, stream: int) -> None:
        """Waits for something of the call's answer: the other side is at work on it."""
        async with asyncio.timeout(_PATIENCE):
            while stream not in self._answered:
                assert not self.closed, "the connection was closed without an answer"
                await self._hear()

    async def ended(self) -> set[int]:
        """Calls that have ended so far, once there is another one."""
        before = len(self._statuses)
        while len(self._statuses) == before:
            await self._hear()
        return set(self._statuses)

    async def _hear(self) -> None:
        data = await self._reader.read(1 << 16)
        if not data:
            self.closed = True
            raise h2.exceptions.ProtocolError
        for event in self._connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                headers = dict(event.headers)
                if "grpc-status" in headers:
                    self._statuses[event.stream_id] = int(headers["grpc-status"]), headers.get("grpc-message", "")
            elif isinstance(event, h2.events.DataReceived):
                self._answered.add(event.stream_id)
                self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


@asynccontextmanager
async def connected(port: int, *, hasty: bool = False) -> AsyncIterator[Peer]:
    """A peer of what listens on `port` of this machine; hasty: it does not wait to hear what it may send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = Peer(reader, writer)
    try:
        await peer.start(hasty=hasty)
        yield peer
    finally:
        writer.close()
