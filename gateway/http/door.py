"""Opens the HTTP door of a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.http.app import create_app
from gateway.http.routes.live import MAX_FRAME_BYTES
from gateway.http.server import HttpServer
from gateway.settings import GatewaySettings
from serving.rpc.local import LocalCalls
from serving.telemetry.scrape import MOST_AT_ONCE
from serving.thread_pool import ThreadPool


async def open_http(settings: GatewaySettings, calls: LocalCalls, able: Callable[[], bool]) -> HttpServer:
    """A running server.

    Args:
        settings: of the gateway.
        calls: of its methods.
        able: whether it can answer at present.

    Raises:
        OSError: the address is taken or not ours.
        TlsError: certificates are set and do not fit.
        RuntimeError: the system has too few threads to give.
    """
    scrape_pool = ThreadPool(MOST_AT_ONCE, "figures")
    if settings.metrics_endpoints:
        await asyncio.to_thread(scrape_pool.begin)  # they end when nobody has the application any more
    server = HttpServer(
        create_app(settings, calls, able, scrape_pool),
        max_connections=settings.max_connections,
        max_message_bytes=min(settings.max_image_bytes, MAX_FRAME_BYTES),
        tls=settings.tls,
    )
    await server.start(settings.host, settings.http_port)
    return server
