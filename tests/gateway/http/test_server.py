"""The HTTP port by itself."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack

import pytest
from starlette.applications import Starlette

from gateway.http.accepting import MOST_AT_ONCE, BoundedSocket
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


def test_few_connections_are_taken_at_once_and_all_in_the_end() -> None:
    """The event loop takes connections for as long as there are some, and does nothing else meanwhile."""
    with ExitStack() as stack:
        listening = stack.enter_context(BoundedSocket(1000, "127.0.0.1", lambda: False, set))
        listening.begin(0, 64)
        for _ in range(2 * MOST_AT_ONCE + 1):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        turns = [0]
        while sum(turns) < 2 * MOST_AT_ONCE + 1:
            try:
                stack.enter_context(listening.accept()[0])
                turns[-1] += 1
            except BlockingIOError:
                turns.append(0)
        assert turns == [MOST_AT_ONCE, MOST_AT_ONCE, 1]
