"""The small HTTP client understands what the servers send: lengths, chunks, ended connections, errors."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress

import pytest

from benchmarks.peers.doors import Http

RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\n\r\n[]",
}


async def ask(response: bytes, times: int = 2) -> tuple[list[object], int]:
    """Answers, and connections that it took."""
    connections: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                assert await reader.readexactly(length) == b"body"
                writer.write(response)
                if b"ength" not in response and b"chunked" not in response:
                    break

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    door = Http(server.sockets[0].getsockname()[1])
    try:
        return [door.read(await door.ask(b"body")) for _ in range(times)], len(connections)
    finally:
        await door.close()
        server.close()
        await asyncio.gather(*filter(None, connections))


@pytest.mark.parametrize("kind", RESPONSES)
async def test_reads_a_body(kind: str) -> None:
    answers, connections = await ask(RESPONSES[kind])
    assert answers == [[], []]
    assert connections == (2 if kind == "until the end" else 1)


async def test_an_error_is_one() -> None:
    with pytest.raises(RuntimeError, match="503"):
        await ask(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
