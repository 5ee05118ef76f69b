"""The HTTP port by itself."""

from __future__ import annotations

import logging

import pytest
from starlette.applications import Starlette

from gateway.http.server import HttpServer


@pytest.mark.parametrize("grace", [None, 0.0, 5.0])
async def test_a_port_that_nobody_uses_closes_without_a_word(
    caplog: pytest.LogCaptureFixture, grace: float | None
) -> None:
    """As at a start that fails for another reason, whose line should be the last one."""
    server = HttpServer(Starlette(), max_connections=4, max_message_bytes=1 << 16, tls=None)
    await server.start("127.0.0.1", 0)
    with caplog.at_level(logging.WARNING):
        await server.stop(grace)
    assert caplog.messages == []
