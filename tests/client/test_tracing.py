"""The caller's trace goes on behind the client, where the caller has one."""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from ferry.client import AsyncClient, Client
from tests.client.conftest import FakeGateway

IMAGE = b"\xff\xd8\xff"


OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def span() -> AbstractContextManager[trace.Span]:
    """One that is current."""
    return TracerProvider().get_tracer("caller").start_as_current_span("work")


def test_the_current_span_travels_along(gateway: FakeGateway, address: str) -> None:
    with Client(address) as client, span() as current:
        client.recognize(IMAGE)
    context = current.get_span_context()
    wanted = f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-"
    assert str(gateway.metadata["traceparent"]).startswith(wanted)


async def test_with_the_async_client_too(gateway: FakeGateway, address: str) -> None:
    async with AsyncClient(address) as client:
        with span() as current:
            await client.recognize(IMAGE)
    assert trace.format_trace_id(current.get_span_context().trace_id) in str(gateway.metadata["traceparent"])


def test_what_the_caller_sets_itself_stays(gateway: FakeGateway, address: str) -> None:
    with Client(address, metadata=[("traceparent", OWN)]) as client, span():
        client.recognize(IMAGE)
    assert gateway.metadata["traceparent"] == OWN


def test_without_a_span_nothing_is_sent(gateway: FakeGateway, address: str) -> None:
    with Client(address) as client:
        client.recognize(IMAGE)
    assert "traceparent" not in gateway.metadata
