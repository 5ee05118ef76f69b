"""Why nobody answers, where somebody listens."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import grpc
import pytest
import trustme

from ferry.client import AsyncClient, Client, MismatchError, Tls, UnavailableError
from ferry.client.diagnosis import Endpoint
from ferry.v1 import gateway_pb2_grpc
from tests.certificates import Certificates
from tests.client.conftest import FakeGateway


@contextmanager
def served(credentials: grpc.ServerCredentials | None) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    gateway_pb2_grpc.add_ExpressionRecognitionServicer_to_server(FakeGateway(), server)
    where = "127.0.0.1:0"
    port = server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture
def files(tmp_path: Path) -> Any:
    authority = trustme.CA()
    own, caller = Certificates(tmp_path / "own", authority), Certificates(tmp_path / "caller", authority, "shop")
    foreign = Certificates(tmp_path / "foreign", trustme.CA(), "shop")
    return own, caller, foreign


def credentials(own: Certificates, *, mutual: bool) -> grpc.ServerCredentials:
    pem = own.tls.read()
    return grpc.ssl_server_credentials([(pem.key, pem.cert)], pem.ca if mutual else None, mutual)


def refused(address: str, tls: Tls | None) -> str:
    with Client(address, tls=tls, timeout=20) as client, pytest.raises(UnavailableError) as raised:
        client.status()
    return str(raised.value)


def test_one_end_speaks_tls(files: Any) -> None:
    own, caller, _ = files
    with served(credentials(own, mutual=False)) as address:
        assert "it speaks TLS; say whom to trust" in refused(address, None)
    with served(None) as address:
        assert "it does not speak TLS; leave certificates" in refused(address, Tls(ca=caller.tls.ca))


def test_one_end_does_not_trust_the_other(files: Any) -> None:
    own, caller, foreign = files
    with served(credentials(own, mutual=True)) as address:
        assert "its certificate is not accepted: its authority is not trusted; it must be for 127.0.0.1" in refused(
            address, Tls(ca=foreign.tls.ca)
        )
        assert "it asks for a certificate of the caller" in refused(address, Tls(ca=caller.tls.ca))
        stranger = Tls(caller.tls.ca, foreign.tls.cert, foreign.tls.key)
        assert f"it does not accept the certificate in {foreign.tls.cert}" in refused(address, stranger)
        with Client(address, tls=caller.tls, timeout=20) as client:
            client.status()


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [
        (("elsewhere.example",), (-1, 1), "it is for another address"),
        (("127.0.0.1",), (-2, -1), "it has expired"),
        (("127.0.0.1",), (1, 2), "it is not valid yet"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_told_why_in_plain_words(
    tmp_path: Path, names: tuple[str, ...], days: tuple[int, int], said: str
) -> None:
    authority, now = trustme.CA(), datetime.now(UTC)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    first, last = (now + timedelta(days=day) for day in days)
    issued = authority.issue_cert(*names, not_before=first, not_after=last)
    key, chain = issued.private_key_pem.bytes(), b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    with served(grpc.ssl_server_credentials([(key, chain)])) as address:
        message = refused(address, Tls(ca=tmp_path / "ca.crt"))
    assert f"its certificate is not accepted: {said}; it must be for 127.0.0.1, of an authority that" in message
    assert "verify" not in message


async def test_the_other_client_says_so_too(files: Any) -> None:
    own, _, _ = files
    with served(credentials(own, mutual=False)) as address:
        async with AsyncClient(address, timeout=20) as client:
            with pytest.raises(MismatchError, match="it speaks TLS"):
                await client.recognize(b"x")
            ((_, error),) = [item async for item in client.recognize_batch([b"x"])]
            assert "it speaks TLS" in str(error)


def test_the_port_for_http_is_told_from_that_for_grpc() -> None:
    class Refuses(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        with Client(address, timeout=20) as client, pytest.raises(UnavailableError) as caught:
            client.status()
        server.shutdown()
    assert str(caught.value).startswith(f"{address} speaks HTTP/1.1; Ferry's clients need its gRPC port, 50051")


def test_who_says_nothing_is_not_waited_for_longer_than_the_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert Endpoint(address).mistake(0.05) is None
        assert Endpoint(address).mistake(0) is None


@pytest.mark.parametrize("address", ["unix:/run/ferry.sock", "127.0.0.1:1", "nowhere.invalid:1", "xds:///gateway"])
def test_what_cannot_be_told_is_left(address: str) -> None:
    assert Endpoint(address).mistake(5) is None
    assert Endpoint(address, known=False).mistake(5) is None
