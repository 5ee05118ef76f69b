"""Who has a certificate of the authority is served, nobody else is; renewed files count without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ferry.tls import Tls, TlsError
from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.rpc import renewing, upstream
from serving.rpc.upstream import Upstream
from serving.server import Server
from serving.settings import ServiceSettings
from tests.certificates import Certificates
from tests.processes import SERVING, free_port, outcome
from tests.serving.fakes import FakeService, running

FAKE = ("-m", "tests.serving.fakes")
REQUEST = classifier_pb2.ClassifyRequest()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def service(tmp_path: Path, authority: trustme.CA) -> Certificates:
    return Certificates(tmp_path / "service", authority)


@pytest.fixture
def caller(tmp_path: Path, authority: trustme.CA) -> Certificates:
    return Certificates(tmp_path / "caller", authority, "shop.example.com")


async def ask(port: int, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """How one call on a connection of its own ends."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    where = f"localhost:{port}"
    channel = (
        grpc.aio.insecure_channel(where, options)
        if credentials is None
        else grpc.aio.secure_channel(where, credentials, options)
    )
    async with channel:
        try:
            await classifier_pb2_grpc.ClassifierStub(channel).Classify(REQUEST, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@asynccontextmanager
async def calling(port: int, tls: Tls) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """As services ask each other."""
    upstream.configure(tls)
    try:
        where = Upstream(f"localhost:{port}", name="fake", health_service="ferry.v1.Classifier", caller="test")
        classify = classifier_pb2_grpc.ClassifierStub(where.channel).Classify
        yield partial(where.call, classify, REQUEST, timeout=60, patience=60)
        await where.close()
    finally:
        upstream.configure(None)


async def test_only_callers_with_a_certificate_of_the_authority_are_served(
    tmp_path: Path, service: Certificates, caller: Certificates
) -> None:
    other = Certificates(tmp_path / "other", trustme.CA())
    assert service.tls.ca is not None
    async with running(FakeService(), **service.settings) as (server, _):
        assert await ask(server.port, caller.tls.channel_credentials()) is grpc.StatusCode.OK
        without = grpc.ssl_channel_credentials(service.tls.ca.read_bytes())
        foreign = other.tls.read()
        stranger = grpc.ssl_channel_credentials(service.tls.ca.read_bytes(), foreign.key, foreign.cert)
        for refused in (None, without, stranger):
            assert await ask(server.port, refused) is grpc.StatusCode.UNAVAILABLE


async def test_a_service_with_another_s_name_is_not_believed(
    tmp_path: Path, authority: trustme.CA, caller: Certificates
) -> None:
    impostor = Certificates(tmp_path / "impostor", authority, "elsewhere")
    async with running(FakeService(), **impostor.settings) as (server, _):
        assert await ask(server.port, caller.tls.channel_credentials()) is grpc.StatusCode.UNAVAILABLE


async def test_without_an_authority_everybody_is_served_and_encrypted(
    service: Certificates, caller: Certificates
) -> None:
    settings = {**service.settings, "tls_ca": None}
    async with running(FakeService(), **settings) as (server, _):
        assert await ask(server.port, Tls(ca=caller.tls.ca).channel_credentials()) is grpc.StatusCode.OK
        assert await ask(server.port, None) is grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_authority_counts_at_the_server_without_a_restart(
    tmp_path: Path, service: Certificates, caller: Certificates
) -> None:
    new = trustme.CA()
    successor = Certificates(tmp_path / "successor", new)
    async with running(FakeService(), **service.settings) as (server, _):
        assert await ask(server.port, successor.tls.channel_credentials()) is grpc.StatusCode.UNAVAILABLE
        service.renew(new)
        assert await ask(server.port, successor.tls.channel_credentials()) is grpc.StatusCode.OK
        assert await ask(server.port, caller.tls.channel_credentials()) is grpc.StatusCode.UNAVAILABLE


async def test_files_that_do_not_fit_change_nothing(service: Certificates, caller: Certificates) -> None:
    assert service.tls.key is not None
    async with running(FakeService(), **service.settings) as (server, _):
        good = service.tls.key.read_bytes()
        service.tls.key.write_bytes(b"half a k")
        assert await ask(server.port, caller.tls.channel_credentials()) is grpc.StatusCode.OK
        service.tls.key.write_bytes(good)
        service.renew()
        assert await ask(server.port, caller.tls.channel_credentials()) is grpc.StatusCode.OK


async def test_services_that_call_renew_theirs_and_lose_no_call(
    monkeypatch: pytest.MonkeyPatch, service: Certificates, caller: Certificates
) -> None:
    monkeypatch.setattr(renewing, "_LOOK_SECONDS", 0.0)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def hold(request: classifier_pb2.ClassifyRequest, context: object) -> classifier_pb2.ClassifyResponse:
        arrived.set()
        await go.wait()
        return classifier_pb2.ClassifyResponse()

    fake = FakeService(hold)
    async with running(fake, **service.settings) as (server, _), calling(server.port, caller.tls) as call:
        in_flight = asyncio.ensure_future(call())
        await arrived.wait()
        # From here on the caller's old certificate is worth nothing to new connections, and the new one everything.
        new = trustme.CA()
        service.renew(new)
        caller.renew(new)
        go.set()
        for _ in range(3):
            await call()
        await in_flight


async def test_a_caller_goes_on_while_its_files_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, service: Certificates, caller: Certificates
) -> None:
    monkeypatch.setattr(renewing, "_LOOK_SECONDS", 0.0)
    assert caller.tls.cert is not None
    async with running(FakeService(), **service.settings) as (server, _), calling(server.port, caller.tls) as call:
        caller.tls.cert.write_bytes(b"")
        await call()
        caller.tls.cert.unlink()
        await call()


async def test_probes_need_no_certificate_and_see_health_alone(service: Certificates) -> None:
    port = free_port()
    async with running(FakeService(), health_port=port, **service.settings):
        async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service="ferry.v1.Classifier")
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
            assert answer.status == SERVING
        assert await ask(port, None) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("field", "content", "says"),
    [
        ("tls_cert", None, "tls_cert: .*cannot be read"),
        ("tls_key", None, "tls_key: .*cannot be read"),
        ("tls_ca", None, "tls_ca: .*cannot be read"),
        ("tls_cert", b"no certificate", "tls_cert: .*holds no certificate"),
        ("tls_key", b"no key", "tls_key: .*holds no private key"),
        ("tls_ca", b"no authority", "tls_ca: .*holds no certificate"),
    ],
)
async def test_files_that_do_not_fit_end_the_start_and_are_named(
    service: Certificates, field: str, content: bytes | None, says: str
) -> None:
    path = service.settings[field]
    assert path is not None
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    server = Server(FakeService(), ServiceSettings(**service.settings))  # type: ignore[arg-type]
    with pytest.raises(TlsError, match=says):
        await server.start()


async def test_the_key_must_be_the_certificate_s(service: Certificates, caller: Certificates) -> None:
    with pytest.raises(TlsError, match=r"tls_key: .*is not the key of"):
        Tls(service.tls.ca, service.tls.cert, caller.tls.key).read()


def test_a_process_says_which_setting_is_missing(tmp_path: Path, service: Certificates) -> None:
    code, told = outcome([*FAKE, str(tmp_path), "--tls-cert", str(service.tls.cert)])
    assert code == 2
    assert "FERRY_TLS_KEY" in told
    code, told = outcome([*FAKE, str(tmp_path), "--tls-ca", str(service.tls.ca)])
    assert code == 2
    assert "FERRY_TLS_CA" in told
