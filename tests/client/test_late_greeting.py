"""A gateway that is busy accepts a connection and greets its caller only after a while."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from ferry.client import AsyncClient, Client
from tests.client.conftest import FakeGateway, serving

LATE = 0.3
"""Seconds."""


@contextmanager
def late(address: str) -> Iterator[str]:
    """An address from which every connection is passed on to `address` after a while."""
    host, port = address.split(":")
    listening = socket.create_server(("127.0.0.1", 0))
    open_: list[socket.socket] = [listening]

    def copy(here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(1 << 16):
                there.sendall(data)

    def passed(caller: socket.socket) -> None:
        time.sleep(LATE)
        with suppress(OSError):
            gateway = socket.create_connection((host, int(port)))
            open_.append(gateway)
            threading.Thread(target=copy, args=(gateway, caller), daemon=True).start()
            copy(caller, gateway)

    def accept() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listening.accept()
                open_.append(caller)
                threading.Thread(target=passed, args=(caller,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        for one in open_:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def address() -> Iterator[str]:
    with serving(FakeGateway()) as at, late(at) as through:
        yield through


def test_the_first_call_reaches_it(address: str) -> None:
    with Client(address) as client:
        assert client.recognize(b"x").faces


async def test_the_first_call_of_an_event_loop_reaches_it(address: str) -> None:
    async with AsyncClient(address) as client:
        assert (await client.recognize(b"x")).faces
