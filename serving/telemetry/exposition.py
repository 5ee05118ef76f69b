"""The metrics page over HTTP, from the event loop: `prometheus_client` makes the page, `h11` speaks the protocol.

A scraper has one connection for one answer. How many there are at once, how long each lasts and how much it may say are
bounded, so that whoever reaches the port costs no more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from prometheus_client import make_asgi_app

from serving.listening import ListeningSocket, why

MAX_CONNECTIONS = 32
MAX_HEADER_BYTES = 16 << 10
TIMEOUT_SECONDS = 10.0
"""For a connection, from its first byte to the last of the answer."""
_READ_BYTES = 4096
_BACKLOG = 64
"""Connections that wait to be taken."""


@dataclass(frozen=True, slots=True)
class _Page:
    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


class MetricsServer:
    """Serves the process's metrics, whatever the path."""

    def __init__(self, *, timeout: float = TIMEOUT_SECONDS, connections: int = MAX_CONNECTIONS) -> None:
        """
        Args:
            timeout: seconds for a connection.
            connections: at once; one more is closed.
        """
        self.port = 0
        self._timeout = timeout
        self._free = connections
        self._app: Callable[..., Any] = make_asgi_app()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listens.

        Raises:
            OSError: the address is taken or not ours.
        """
        try:
            listening = ListeningSocket(host)
            listening.begin(port, _BACKLOG)
        except OSError as error:
            raise OSError(f"cannot serve metrics on {host}:{port}: {why(error, host)}") from error
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=MAX_HEADER_BYTES, backlog=_BACKLOG)
        self.port = listening.getsockname()[1]

    async def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._free:
            writer.transport.abort()
            return
        self._free -= 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._answer(reader, writer)
        except (TimeoutError, ConnectionError):
            writer.transport.abort()
        finally:
            self._free += 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        try:
            request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            await _respond(writer, connection, _Page(error.error_status_hint))
            return
        if request is None:
            return
        if request.method not in {b"GET", b"HEAD"}:
            await _respond(writer, connection, _Page(405, ((b"allow", b"GET, HEAD"),)))
            return
        await _respond(writer, connection, await self._page(request), head=request.method == b"HEAD")

    async def _page(self, request: h11.Request) -> _Page:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, str]:
            return {"type": "http.request"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        query = request.target.partition(b"?")[2]
        await self._app({"type": "http", "query_string": query, "headers": list(request.headers)}, receive, send)
        start, body = sent
        return _Page(start["status"], tuple(start["headers"]), body["body"])


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request that comes, without its body; None where the peer leaves before."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(_READ_BYTES))


async def _respond(
    writer: asyncio.StreamWriter, connection: h11.Connection, page: _Page, *, head: bool = False
) -> None:
    headers = [*page.headers, (b"content-length", str(len(page.body)).encode()), (b"connection", b"close")]
    writer.write(connection.send(h11.Response(status_code=page.status, headers=headers)) or b"")
    if not head:
        writer.write(page.body)
    await writer.drain()
