"""Who calls is known before the body is read, and travels with the request; whoever is refused costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from prometheus_client import generate_latest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc, gateway_pb2, gateway_pb2_grpc
from serving.errors import UnauthenticatedError
from serving.rpc import context as request_context
from serving.rpc.identity import ANONYMOUS, UNTOLD, Identity, Proof, of_certificate
from serving.rpc.limits import Kind
from tests.certificates import Certificates
from tests.serving.fakes import FakeService, running

SHOP = Identity(Proof.API_KEY, "shop")


class Guarded(FakeService):
    """Serves callers whose metadata says `who: shop`, and those who say nothing where `strangers` may come."""

    def __init__(self, strangers: bool = False) -> None:
        self.seen: list[tuple[Identity, float]] = []
        self.strangers = strangers

        async def answer(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
            current = request_context.current.get()
            assert current is not None
            self.seen.append((current.caller, current.remaining()))
            return classifier_pb2.ClassifyResponse()

        super().__init__(answer)

    def identify(self, metadata: Mapping[str, str]) -> Identity | None:
        if metadata.get("who") == "shop":
            return SHOP
        if self.strangers:
            return None
        raise UnauthenticatedError("who are you?")


async def never() -> AsyncIterator[bytes]:
    """A body of which nothing ever comes."""
    await asyncio.Event().wait()
    yield b""


async def classify(channel: grpc.aio.Channel, **call: Any) -> None:
    await classifier_pb2_grpc.ClassifierStub(channel).Classify(classifier_pb2.ClassifyRequest(), timeout=20, **call)


async def test_who_calls_is_in_the_context_of_the_request() -> None:
    service = Guarded(strangers=True)
    async with running(service) as (_, channel):
        await classify(channel, metadata=(("who", "shop"),))
        await classify(channel)
        await classify(channel, metadata=(("who", "shop"),))
    assert [caller for caller, _ in service.seen] == [SHOP, ANONYMOUS, SHOP]
    assert (str(SHOP), str(ANONYMOUS)) == ("api_key:shop", "anonymous")


@pytest.mark.parametrize("method", ["Classifier/Classify", "ExpressionRecognition/RecognizeBatch"])
async def test_a_stranger_is_refused_before_anything_of_the_body_came(method: str) -> None:
    async with running(Guarded()) as (_, channel):
        call = channel.stream_unary(f"/ferry.v1.{method}")(
            never(), timeout=20, metadata=(("x-request-id", "my-own-id"),)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "who are you?"
    assert dict(caught.value.trailing_metadata() or ())["x-request-id"] == "my-own-id"


@pytest.mark.parametrize("size", [0, 1, 40 << 20])
async def test_a_stranger_is_told_so_whatever_it_sends(size: int) -> None:
    service = Guarded()
    async with running(service) as (_, channel):
        request = gateway_pb2.RecognizeRequest(image=bytes(size))
        for call in (
            gateway_pb2_grpc.ExpressionRecognitionStub(channel).Recognize(request, timeout=20),
            channel.unary_unary("/ferry.v1.Classifier/Classify")(b"\xff" * size, timeout=20),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not service.seen


async def test_names_that_a_stranger_makes_up_are_not_kept() -> None:
    async with running(Guarded()) as (_, channel):
        for number in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/ferry.v1.Classifier/MadeUp{number}")(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert b"MadeUp" not in generate_latest()


async def test_health_asks_nobody() -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with running(Guarded()) as (_, channel):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_caller_with_a_certificate_is_its_subject(tmp_path: Path) -> None:
    authority = trustme.CA()
    own, shop = Certificates(tmp_path / "own", authority), Certificates(tmp_path / "shop", authority, "shop.shop.svc")
    service = Guarded(strangers=True)
    async with running(service, **own.settings) as (server, _):
        files = (shop.tls.ca, shop.tls.key, shop.tls.cert)
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files if file is not None))
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            await classify(channel)
            await classify(channel, metadata=(("who", "shop"),))
    assert [str(caller) for caller, _ in service.seen] == ["certificate:shop.shop.svc", "api_key:shop"]


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        ({}, ""),
        ({"x509_common_name": [b"shop"]}, "shop"),
        ({"x509_common_name": [b"shop"], "x509_subject_alternative_name": [b"shop.svc", b"lab.svc"]}, "shop.svc"),
        ({"x509_common_name": [b""]}, ""),
        ({"x509_common_name": [b"shop"], "x509_subject_alternative_name": [UNTOLD.encode(), b"shop.svc"]}, "shop.svc"),
        ({"x509_common_name": [b"shop"], "x509_subject_alternative_name": [UNTOLD.encode()]}, "shop"),
        ({"x509_common_name": [b"\xff"]}, "�"),
        ({"peer": [b"stranger"]}, ""),
    ],
)
def test_names_of_a_certificate(connection: dict[str, list[bytes]], name: str) -> None:
    assert of_certificate(connection) == (Identity(Proof.CERTIFICATE, name) if name else ANONYMOUS)


class Foreign(Guarded):
    """Registers a service that is none of Ferry's contract."""

    grpc_services = ("inference.Echo",)

    def register(self, server: grpc.aio.Server) -> None:

        async def echo(request: bytes, context: Any) -> bytes:
            await self.answer(classifier_pb2.ClassifyRequest(), context)
            return request

        handler = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.Echo", {"Say": handler}),))


async def test_whatever_a_service_registers_is_wrapped() -> None:
    service = Foreign()
    async with running(service) as (_, channel):
        say = channel.unary_unary("/inference.Echo/Say")
        assert await say(b"hello", timeout=20, metadata=(("who", "shop"),)) == b"hello"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(b"hello", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [caller for caller, _ in service.seen] == [SHOP]


@pytest.mark.parametrize(("kind", "seconds"), [(Kind.UNARY, 5), (Kind.BATCH, 5), (Kind.STREAM, 10)])
async def test_a_methods_kind_bounds_its_time(kind: Kind, seconds: float) -> None:
    service = Guarded()
    service.kinds = {"/ferry.v1.Classifier/Classify": kind}
    async with running(service, max_timeout=5, max_stream_age=10) as (_, channel):
        await classify(channel, metadata=(("who", "shop"),))
    ((_, remaining),) = service.seen
    assert seconds - 5 < remaining <= seconds


@pytest.mark.parametrize(
    ("streaming", "kind"),
    [
        ((False, False), Kind.UNARY),
        ((False, True), Kind.BATCH),
        ((True, False), Kind.BATCH),
        ((True, True), Kind.STREAM),
    ],
)
def test_the_kind_of_a_method_follows_from_its_streaming(streaming: tuple[bool, bool], kind: Kind) -> None:
    assert Kind.of(request_streaming=streaming[0], response_streaming=streaming[1]) is kind
