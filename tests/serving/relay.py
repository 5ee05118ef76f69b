"""A port before a server, from which connections are passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


def _nothing(data: bytes) -> None:
    """Nobody listens."""


@asynccontextmanager
async def relay(
    port: int, dark: asyncio.Event | None = None, heard: Callable[[bytes], None] = _nothing
) -> AsyncIterator[int]:
    """A port from which connections are passed on until it is dark; then they stay open, and nothing comes through.

    Args:
        port: of the server.
        dark: None: it never is.
        heard: is given what clients send.
    """

    async def copy(here: asyncio.StreamReader, there: asyncio.StreamWriter, heard: Callable[[bytes], None]) -> None:
        while data := await here.read(1 << 16):
            heard(data)
            if dark is None or not dark.is_set():
                there.write(data)

    passing: set[asyncio.Task[None]] = set()

    async def passed(here: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        passing.add(task)
        further, away = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(copy(here, away, heard), copy(further, there, _nothing))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for writer in (away, there):
                writer.transport.abort()

    server = await asyncio.start_server(passed, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
