"""The metrics page: what scrapers ask of it, and what nobody can do to it."""

from __future__ import annotations

import asyncio
import gzip
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from serving.telemetry.exposition import MetricsServer


@asynccontextmanager
async def serving(**bounds: Any) -> AsyncIterator[int]:
    server = MetricsServer(**bounds)
    await server.start("127.0.0.1", 0)
    try:
        yield server.port
    finally:
        await server.stop()


async def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head.lower(), body
    finally:
        writer.close()


def get(*headers: str, target: str = "/metrics", method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "host: x", *headers, "", "")).encode()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", b"text/plain; version=0.0.4"),
        ("accept: text/plain;version=1.0.0", b"text/plain; version=1.0.0"),
        ("accept: application/openmetrics-text;version=1.0.0", b"application/openmetrics-text; version=1.0.0"),
    ],
)
async def test_the_format_is_the_one_asked_for(accept: str, kind: bytes) -> None:
    async with serving() as port:
        head, body = await ask(port, get(*filter(None, [accept])))
    assert head.startswith(b"http/1.1 200")
    assert b"content-type: " + kind in head
    assert b"process_max_fds" in body


async def test_the_page_is_compressed_and_chosen_from_where_asked() -> None:
    async with serving() as port:
        head, body = await ask(port, get("accept-encoding: gzip", target="/metrics?name[]=process_max_fds"))
        heads = await ask(port, get(method="HEAD"))
    assert b"content-encoding: gzip" in head
    assert b"python_gc" not in gzip.decompress(body)
    assert heads[1] == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(method="POST"), b"405"),
        (b"hello\r\n\r\n", b"400"),
        (get("x: " + "n" * (32 << 10)), b"431"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_scrape_is_refused(request_: bytes, status: bytes) -> None:
    async with serving() as port:
        head, _ = await ask(port, request_)
        assert head.split()[1] == status
        assert (await ask(port, get()))[0].startswith(b"http/1.1 200")


async def test_half_a_request_is_closed_in_time_and_others_are_served() -> None:
    async with serving(timeout=0.2, connections=4) as port:
        halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for _, writer in halves:
            writer.write(b"GET /metrics HTT")
        async with asyncio.timeout(20):
            assert [await reader.read() for reader, _ in halves] == [b""] * 4
        assert (await ask(port, get()))[0].startswith(b"http/1.1 200")
        for _, writer in halves:
            writer.close()


async def test_more_connections_than_there_is_room_for_are_closed() -> None:
    async with serving(connections=2) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in held:
            writer.write(b"G")
        async with asyncio.timeout(20):
            while True:
                try:
                    head, _ = await ask(port, get())
                except ConnectionError:
                    break
                if not head:
                    break
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(20):
            while not (await _or_nothing(port)).startswith(b"http/1.1 200"):
                await asyncio.sleep(0.01)


async def test_a_process_without_descriptors_says_so_once_a_second_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as port:
        with few_descriptors():
            asking = [asyncio.create_task(ask(port, get())) for _ in range(2)]
            async with asyncio.timeout(20):
                while not caplog.records:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            said = len(caplog.records)
        heads = [head for head, _ in await asyncio.gather(*asking)]
    assert said == 1
    assert all(head.startswith(b"http/1.1 200") for head in heads)


@contextmanager
def few_descriptors() -> Iterator[None]:
    """This process may connect twice, and take no connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(64)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(one.fileno() for one in held) + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        taken = []
        with suppress(OSError):
            while True:
                taken.append(stack.enter_context(socket.socket()))
        for one in taken[:2] or held[:2]:
            one.close()
        yield


async def _or_nothing(port: int) -> bytes:
    try:
        return (await ask(port, get()))[0]
    except ConnectionError:
        return b""
