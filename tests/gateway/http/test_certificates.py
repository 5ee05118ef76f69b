"""Who has a certificate is the same caller over HTTP as over gRPC, and another one than whoever has another."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateway.http.protocol import names_of_certificate
from serving.rpc.identity import of_certificate

USER_NAME = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""Microsoft's, which its authorities put first."""
PEM = serialization.Encoding.PEM


def other_name(text: str) -> x509.OtherName:
    return x509.OtherName(USER_NAME, b"\x0c" + bytes([len(text)]) + text.encode())


class Issuer:
    """An authority that writes any name into a certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.pem = self._signed(self._name, self._key, None)
        self.own = trustme.CA()
        self._server = self.own.issue_cert("localhost")

    def issue(self, common: str, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """Key and certificate, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private, self._signed(subject, key, x509.SubjectAlternativeName(names))

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: x509.SubjectAlternativeName | None
    ) -> bytes:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(PEM)

    def over_grpc(self, key: bytes, certificate: bytes) -> str:
        """Who that is for a gRPC server."""
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((_Who(),))
        own = self._server.private_key_pem.bytes(), self._server.cert_chain_pems[0].bytes()
        port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([own], self.pem, True))
        server.start()
        trusted = grpc.ssl_channel_credentials(self.own.cert_pem.bytes(), key, certificate)
        try:
            with grpc.secure_channel(f"localhost:{port}", trusted) as channel:
                who: bytes = channel.unary_unary("/who/is")(b"", timeout=20)  # type: ignore[arg-type]
                return who.decode()
        finally:
            server.stop(None)

    async def over_http(self, key: bytes, certificate: bytes) -> str:
        """Who that is for the HTTP port."""
        for name, data in (("key", key), ("certificate", certificate), ("authority", self.pem)):
            (self._folder / name).write_bytes(data)
        here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._folder / "authority")
        here.verify_mode = ssl.CERT_REQUIRED
        self._server.configure_cert(here)
        there = ssl.create_default_context()
        self.own.configure_trust(there)
        there.load_cert_chain(self._folder / "certificate", self._folder / "key")
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(str(of_certificate(names_of_certificate(writer.get_extra_info("peercert")))))
            writer.close()

        async with await asyncio.start_server(look, "localhost", 0, ssl=here) as server:
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("localhost", port, ssl=there)
            who = await asyncio.wait_for(found, 20)
            writer.close()
        return who


class _Who(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: str(of_certificate(context.auth_context())).encode()
        )


@pytest.mark.parametrize(
    ("names", "who"),
    [
        ([x509.DNSName("shop.svc")], "shop.svc"),
        ([x509.UniformResourceIdentifier("spiffe://cluster/shop")], "spiffe://cluster/shop"),
        ([x509.IPAddress(ipaddress.ip_address("fd00::1"))], "fd00::1"),
        ([other_name("shop@lab"), x509.RFC822Name("shop@lab.org")], "shop@lab.org"),
        ([other_name("shop@lab")], "shop"),
        ([x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])), x509.DNSName("b")], "b"),
        ([x509.RegisteredID(ObjectIdentifier("1.2.3.4")), x509.DNSName("b")], "b"),
    ],
    ids=["DNS", "URI", "IPv6", "user name and mail", "user name", "directory", "number"],
)
async def test_a_certificate_names_the_same_caller_at_both_doors(
    tmp_path: Path, names: list[x509.GeneralName], who: str
) -> None:
    issuer = Issuer(tmp_path)
    key, certificate = issuer.issue("shop", *names)
    over_grpc = await asyncio.to_thread(issuer.over_grpc, key, certificate)
    assert (over_grpc, await issuer.over_http(key, certificate)) == (f"certificate:{who}",) * 2
