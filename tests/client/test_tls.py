"""Files for TLS that do not fit: which one, and why, in plain words and not in OpenSSL's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

from ferry.tls import Tls, TlsError
from serving.settings import ServiceSettings, load
from tests.certificates import Certificates

OPENSSL = re.compile(r"\[SSL|_ssl\.c|\[X509|[A-Z]+_[A-Z_]+|PEM lib|routines")
"""How OpenSSL speaks, and Python of it."""


@pytest.fixture
def own(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "own", trustme.CA())


def armoured(what: str) -> bytes:
    return f"-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n".encode()


def encrypted(own: Certificates) -> bytes:
    key = serialization.load_pem_private_key(Path(own.tls.key or "").read_bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def encrypted_of_old(own: Certificates) -> bytes:
    key = serialization.load_pem_private_key(Path(own.tls.key or "").read_bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))


def of_another(own: Certificates) -> bytes:
    return trustme.CA().issue_cert("localhost").private_key_pem.bytes()


def of_another_kind(own: Certificates) -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())


def too_short(own: Certificates) -> bytes:
    """A certificate and its key, of 1,024 bits, in one file."""
    key, name = rsa.generate_private_key(65537, 1024), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()
    )


CASES: dict[str, tuple[str, Callable[[Certificates], bytes], str]] = {
    "of another": ("key", of_another, "is not the key of CERT: they do not belong together"),
    "of another kind": ("key", of_another_kind, "is not the key of CERT: they do not belong together"),
    "encrypted": ("key", encrypted, "is encrypted with a password; it has to be without one"),
    "encrypted, of old": ("key", encrypted_of_old, "is encrypted with a password; it has to be without one"),
    "no key": ("key", lambda _: b"", "holds no private key in PEM"),
    "a certificate for a key": (
        "key",
        lambda own: Path(own.tls.cert or "").read_bytes(),
        "holds no private key in PEM",
    ),
    "a broken key": ("key", lambda _: armoured("PRIVATE KEY"), "is broken: the key in it cannot be read"),
    "no certificate": ("cert", lambda _: b"\x30\x82DER", "holds no certificate in PEM"),
    "a broken certificate": (
        "cert",
        lambda _: armoured("CERTIFICATE"),
        "is broken: a certificate in it cannot be read",
    ),
    "no authority": ("ca", lambda _: b"", "holds no certificate in PEM"),
    "a broken authority": ("ca", lambda _: armoured("CERTIFICATE"), "is broken: a certificate in it cannot be read"),
}


@pytest.mark.parametrize(("field", "made", "said"), CASES.values(), ids=CASES)
def test_files_that_do_not_fit(
    tmp_path: Path, own: Certificates, field: str, made: Callable[[Certificates], bytes], said: str
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(made(own))
    with pytest.raises(TlsError) as raised:
        replace(own.tls, **{field: wrong}).read()
    message = str(raised.value)
    assert message == f"tls_{field}: {wrong} {said.replace('CERT', str(own.tls.cert))}"
    assert not OPENSSL.search(message.replace(str(tmp_path), ""))


def test_a_key_that_is_too_short_for_today(tmp_path: Path, own: Certificates) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(too_short(own))
    with pytest.raises(TlsError, match=r"^tls_cert: \S+ is not safe enough for today: its key is too short$"):
        Tls(cert=both, key=both).read()


def test_a_file_that_is_not_there_and_one_without_the_other(tmp_path: Path, own: Certificates) -> None:
    with pytest.raises(TlsError, match=r"^tls_ca: .*none cannot be read: No such file or directory$"):
        Tls(ca=tmp_path / "none").read()
    with pytest.raises(TlsError, match=r"^tls_key: must be given with tls_cert$"):
        Tls(cert=own.tls.cert)


def test_a_service_names_the_setting(own: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(ServiceSettings, ["--tls-cert", str(own.tls.cert)])
    said = capsys.readouterr().err
    assert "tls_key" in said.replace("-", "_").lower()
    assert "pydantic" not in said
