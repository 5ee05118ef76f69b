"""uvicorn in the gateway's own event loop: from listening to the last answer."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time

import uvicorn
from starlette.types import ASGIApp

from ferry.tls import Tls, TlsError
from gateway.http.accepting import BoundedSocket
from gateway.http.app import MAX_HEADER_BYTES
from gateway.http.protocol import Protocol
from gateway.http.sockets import SocketProtocol
from serving.listening import why
from serving.watched_file import WatchedFile

_BACKLOG = 512
"""Connections that wait to be taken. Those of a flood are worked on even when it is over."""
_WEBSOCKET_PING_SECONDS = 20.0


class HttpServer:
    """Serves an application on a port.

    Attributes:
        port: listened on; 0 before `start`.
    """

    def __init__(self, app: ASGIApp, *, max_connections: int, max_message_bytes: int, tls: Tls | None) -> None:
        """
        Args:
            app: the application.
            max_connections: at once; with one more the one ends that should have begun, else the one that has been idle
                the longest, else that one itself.
            max_message_bytes: of a WebSocket.
            tls: certificates; with `ca`, callers must have one of that authority. None: no TLS.
        """
        self.port = 0
        self._tls = tls
        self._server: _Server | None = None
        self._running: asyncio.Task[None] | None = None
        self._max_connections = max_connections
        self._config = uvicorn.Config(
            app,
            http=Protocol,
            ws=SocketProtocol,
            ws_max_size=max_message_bytes,
            ws_ping_interval=_WEBSOCKET_PING_SECONDS,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_keep_alive=75,
            backlog=_BACKLOG,  # it listens once more with its own
        )

    async def start(self, host: str, port: int) -> None:
        """Listens.

        Raises:
            OSError: the address is taken or not ours.
            TlsError: certificates are set and do not fit.
        """
        self._config.load()
        if self._tls is not None:
            self._config.ssl = _tls_context(self._tls)
        try:
            listening = BoundedSocket(
                self._max_connections, host, self._make_room, self._begun, tls=self._tls is not None
            )
            listening.begin(port, _BACKLOG)
        except OSError as error:
            raise OSError(f"cannot serve HTTP on {host}:{port}: {why(error, host)}") from error
        self.port = listening.getsockname()[1]
        self._server = _Server(self._config)
        await self._server.listen(listening)
        self._running = asyncio.create_task(self._server.run_until_told())

    def _make_room(self) -> bool:
        """Ends the connection on which nothing has been asked for the longest time; whether there is one."""
        there = self._server.server_state.connections if self._server is not None else ()
        idle = [one for one in there if isinstance(one, Protocol) and one.idle]
        if idle:
            min(idle, key=lambda one: one.since).transport.close()
        return bool(idle)

    def _begun(self) -> set[int]:
        there = self._server.server_state.connections if self._server is not None else ()
        sockets = [one.transport.get_extra_info("socket") for one in there]
        return {one.fileno() for one in sockets if one is not None}

    async def stop(self, grace: float | None) -> None:
        """No new connections; requests under way have `grace` seconds, at least one."""
        if self._server is None or self._running is None:
            return
        self._config.timeout_graceful_shutdown = max(1, math.ceil(grace or 0))
        self._server.should_exit = True
        await asyncio.gather(self._running, return_exceptions=True)


class _Server(uvicorn.Server):
    """In two steps, and signals are left to the process."""

    async def listen(self, listening: socket.socket) -> None:
        self.lifespan = self.config.lifespan_class(self.config)
        self._listening = [listening]
        await self.startup(sockets=self._listening)

    async def run_until_told(self) -> None:
        await self.main_loop()
        await self.shutdown(sockets=self._listening)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """A context that looks at the files with every new connection, as gRPC's does."""
    contexts = WatchedFile("certificates of HTTP", lambda: _load(tls), tls.signature, errors=(TlsError, OSError))

    renewed = 0.0

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        nonlocal renewed
        if contexts.look():
            renewed = time.time()
        # One that is just being made cannot be asked for.
        session = connection.session if connection.session_reused else None
        if session is not None and session.time <= renewed:
            # Its caller's certificate was looked at by an authority that may have been withdrawn since.
            return ssl.AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED
        connection.context = contexts.value
        return None

    context: ssl.SSLContext = contexts.value
    context.sni_callback = choose
    return context


def _load(tls: Tls) -> ssl.SSLContext:
    tls.read()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert tls.cert is not None
    context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    if tls.ca is not None:
        context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        # Of TLS 1.3, whose sessions do not say when their caller was looked at. Those of TLS 1.2 do.
        context.num_tickets = 0
    return context
