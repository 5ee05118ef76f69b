"""Pings of a connection: none but those that have to be answered in time, by which a gateway that hangs is found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from ferry.transport import PING_SECONDS, channel_options

_PREFACE, _HEADER = 24, 9
_PING, _ACK = 6, 1


class _Frames:
    """Counts the pings in what an HTTP/2 client sends."""

    def __init__(self) -> None:
        self.pings = 0
        self._rest = b""
        self._skip = _PREFACE

    def feed(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) > self._skip:
            self._rest, self._skip = self._rest[self._skip :], 0
            if len(self._rest) < _HEADER:
                return
            self.pings += self._rest[3] == _PING and not self._rest[4] & _ACK
            self._skip = _HEADER + int.from_bytes(self._rest[:3])


@asynccontextmanager
async def relay(port: int, frames: _Frames) -> AsyncIterator[int]:
    """Before the server at `port`; gives its own port. All that it has opened is closed before the loop is."""
    ends: list[asyncio.StreamWriter] = []
    connections: list[asyncio.Task[None]] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: _Frames | None) -> None:
        while data := await reader.read(1 << 16):
            if seen is not None:
                seen.feed(data)
            writer.write(data)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        there = await asyncio.open_connection("127.0.0.1", port)
        ends.append(there[1])
        await asyncio.gather(carry(reader, there[1], frames), carry(there[0], writer, None), return_exceptions=True)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.create_task(connect(reader, writer)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    for end in ends:
        end.close()
    await asyncio.gather(*(end.wait_closed() for end in ends), return_exceptions=True)


async def test_nothing_pings_but_what_finds_a_gateway_that_hangs() -> None:
    async def answer(request: bytes, context: object) -> bytes:
        return bytes(30_000)

    server, frames = grpc.aio.server(), _Frames()
    methods = {"Answer": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with (
        relay(port, frames) as before,
        grpc.aio.insecure_channel(f"127.0.0.1:{before}", channel_options("test")) as channel,
    ):
        began = time.monotonic()
        for _ in range(20):
            assert len(await channel.unary_unary("/test.Service/Answer")(bytes(60_000), timeout=30)) == 30_000
        allowed = int((time.monotonic() - began) / PING_SECONDS)
    await server.stop(None)
    assert frames.pings <= allowed
