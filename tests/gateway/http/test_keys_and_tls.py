"""Who may call: API keys and certificates, as over gRPC."""

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import threading

import httpx
import pytest
import trustme

from gateway.http.server import _tls_context
from serving.rpc.context import caller
from tests.certificates import Certificates
from tests.gateway.fakes import jpeg
from tests.gateway.http.conftest import RAW, problem
from tests.gateway.http.sockets import answer, connect
from tests.processes import free_port


@pytest.fixture
async def guarded(start_http, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    return await start_http(api_keys=keys)


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic c2VjcmV0"}])
async def test_without_the_key_nothing_is_answered(guarded, header):
    answer = await guarded.predict(jpeg(), headers=header)
    assert problem(answer, 401)["code"] == "UNAUTHENTICATED"
    assert answer.headers["www-authenticate"] == "Bearer"
    for method, path in (("GET", "/api/status"), ("GET", f"/api/jobs/{'a' * 32}"), ("POST", "/api/predict-batch")):
        assert problem(await guarded.client.request(method, path, headers=header), 401)


async def test_whoever_has_no_key_is_refused_before_the_body(guarded):
    large = await guarded.client.post(
        "/api/predict", content=b"", headers={**RAW, "content-length": "0", "authorization": "Bearer wrong"}
    )
    assert problem(large, 401)


async def test_with_the_key(guarded):
    assert (await guarded.predict(jpeg(), headers={"authorization": "Bearer secret"})).status_code == 200
    assert (await guarded.client.get("/healthz")).status_code == 200
    assert (await guarded.client.get("/openapi.json")).status_code == 200


async def test_mutual_tls_tells_who_calls_and_certificates_are_renewed(start_gateway, tmp_path, monkeypatch):
    authority, next_authority = trustme.CA(), trustme.CA()
    own = Certificates(tmp_path / "gateway", authority)
    shop = Certificates(tmp_path / "shop", authority, "shop")
    port = free_port()
    gateway = await start_gateway(http_port=port, **own.settings)
    seen, recognize = [], gateway.service._recognizer.recognize
    monkeypatch.setattr(
        gateway.service._recognizer, "recognize", lambda *given: seen.append(str(caller())) or recognize(*given)
    )

    async def ask(trusted, certificate):
        context = ssl.create_default_context()
        trusted.configure_trust(context)
        if certificate is not None:
            context.load_cert_chain(certificate.tls.cert, certificate.tls.key)
        async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=context, trust_env=False) as client:
            return (await client.post("/api/predict", content=jpeg(), headers=RAW)).status_code

    with pytest.raises(httpx.HTTPError):
        await ask(authority, None)
    assert await ask(authority, shop) == 200
    assert seen == ["certificate:shop"]
    own.renew(next_authority)
    with pytest.raises(httpx.HTTPError):
        await ask(next_authority, shop)
    shop.renew(next_authority)
    assert await ask(next_authority, shop) == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_outlives_the_authority_that_it_was_begun_under(tmp_path, version):
    authority, next_authority = trustme.CA(), trustme.CA()
    own = Certificates(tmp_path / "gateway", authority)
    shop = Certificates(tmp_path / "shop", authority, "shop")
    here = _tls_context(own.tls)
    there = ssl.create_default_context()
    for trusted in (authority, next_authority):
        trusted.configure_trust(there)
    there.load_cert_chain(shop.tls.cert, shop.tls.key)
    there.minimum_version = there.maximum_version = version
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(3):
            connection, _ = listening.accept()
            with contextlib.suppress(OSError), here.wrap_socket(connection, server_side=True) as secure:
                secure.sendall(b"hello")
                secure.recv(1)

    def ask(session):
        with (
            socket.create_connection(listening.getsockname(), timeout=20) as connection,
            there.wrap_socket(connection, server_hostname="localhost", session=session) as secure,
        ):
            said = secure.recv(5)
            return said, secure.session

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    said, session = ask(None)
    assert said == b"hello"
    assert ask(session)[0] == b"hello"
    own.renew(next_authority)
    with pytest.raises(OSError, match=r"(?i)alert|reset|EOF"):
        assert ask(session)[0] == b""
    serving.join(20)
    listening.close()


async def test_who_never_ends_the_handshake_counts_as_a_connection(start_gateway, tmp_path):
    own = Certificates(tmp_path / "gateway", trustme.CA())
    port = free_port()
    await start_gateway(http_port=port, max_connections=2, **own.settings)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            assert await reader.read(1) == b"", "a third connection was let in"
    for _, one in (*silent, (reader, writer)):
        one.close()
    async with asyncio.timeout(20):
        while True:
            context = ssl.create_default_context(cafile=own.tls.ca)
            try:
                _, writer = await asyncio.open_connection("localhost", port, ssl=context)
                break
            except (ConnectionError, ssl.SSLError):
                await asyncio.sleep(0.02)
    writer.close()


async def test_handshakes_without_an_end_give_way_to_those_who_come(start_gateway, tmp_path, monkeypatch):
    own = Certificates(tmp_path / "gateway", trustme.CA())
    port = free_port()
    await start_gateway(http_port=port, max_connections=3, **own.settings)
    context = ssl.create_default_context(cafile=own.tls.ca)
    context.load_cert_chain(own.tls.cert, own.tls.key)

    def client():
        return httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=context, trust_env=False)

    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    monkeypatch.setattr("gateway.http.accepting.BEGIN_SECONDS", 0.0)
    async with client() as first, client() as second, client() as third:
        for new in (first, second, third):
            assert (await new.get("/healthz")).status_code == 200
        async with asyncio.timeout(20):
            for reader, _ in silent:
                assert await reader.read() == b"", "it was not ended"
        assert (await first.get("/healthz")).status_code == 200, "one that had begun gave way"
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"POST /api/predict HTTP/1.0\r\n\r\n"])
async def test_plain_http_where_tls_is_spoken_is_told_so(start_gateway, tmp_path, request_):
    own = Certificates(tmp_path / "gateway", trustme.CA())
    port = free_port()
    await start_gateway(http_port=port, **own.settings)
    async with connect(port) as (reader, writer):
        writer.write(request_)
        status, body = await answer(reader)
        assert (status, "https://" in json.loads(body)["detail"]) == (400, True)
