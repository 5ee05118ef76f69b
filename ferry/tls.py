"""Certificates from files, for both ends of a connection: who I am (cert, key) and whom I trust (ca)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

Signature = tuple[tuple[int, int, int], ...]
"""Of the files as they are: inode, time of change, size. Another one means that they have been renewed."""


class TlsError(ValueError):
    """Files that cannot be used; the message names the field (`tls_cert`, `tls_key`, `tls_ca`) and the file."""


@dataclass(frozen=True, slots=True)
class Pem:
    """The content of the files, as it was at one moment."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the files are, each PEM.

    Attributes:
        ca: certificates of the authorities that the other end's certificate must come from; for callers, without it:
            those that the system trusts.
        cert: the own certificate, followed by those between it and the authority.
        key: its private key; goes with `cert`.

    Raises:
        TlsError: one of `cert` and `key` without the other.
    """

    ca: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            missing, other = ("tls_key", "tls_cert") if self.key is None else ("tls_cert", "tls_key")
            raise TlsError(f"{missing}: must be given with {other}")

    def read(self) -> Pem:
        """The files, checked: they can be read, are certificates, and the key is the certificate's.

        Raises:
            TlsError: which one does not fit, and why.
        """
        before = self.signature()
        pem = Pem(*(None if path is None else path.read_bytes() for _, path in self._files()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.cert is not None and self.key is not None:
            if b"-----BEGIN CERTIFICATE-----" not in (pem.cert or b""):
                raise TlsError(f"tls_cert: {self.cert} holds no certificate")
            try:
                # A password would be asked for on the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: "")
            except (ssl.SSLError, ValueError) as error:
                raise TlsError(f"tls_key: {self.key} is not the key of {self.cert}: {_reason(error)}") from error
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except ssl.SSLError as error:
                raise TlsError(f"tls_ca: {self.ca} holds no certificates: {_reason(error)}") from error
        if self.signature() != before:
            raise TlsError("tls_cert: the files are being renewed")
        return pem

    def signature(self) -> Signature:
        """Of all files.

        Raises:
            TlsError: one cannot be read.
        """
        found = []
        for field, path in self._files():
            if path is None:
                continue
            try:
                status = path.stat()
                with path.open("rb"):
                    pass
            except OSError as error:
                raise TlsError(f"{field}: {path} cannot be read: {error.strerror}") from error
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a caller, from the files as they are now.

        Raises:
            TlsError: as `read`.
        """
        pem = self.read()
        return grpc.ssl_channel_credentials(pem.ca, pem.key, pem.cert)

    def _files(self) -> tuple[tuple[str, Path | None], ...]:
        named = ("tls_ca", self.ca), ("tls_cert", self.cert), ("tls_key", self.key)
        return tuple((field, None if path is None else Path(path)) for field, path in named)


_WORDS = {
    "KEY_VALUES_MISMATCH": "they do not belong together",
    "NO_START_LINE": "it holds none in PEM",
    "NO_CERTIFICATE_OR_CRL_FOUND": "it holds none in PEM",
    "BAD_PASSWORD_READ": "it is encrypted with a password",
    "BAD_DECRYPT": "it is encrypted with a password",
    "EE_KEY_TOO_SMALL": "the key is too short for today",
    "CA_MD_TOO_WEAK": "the signature is too weak for today",
}
"""OpenSSL's reasons, as far as people meet them."""


def _reason(error: Exception) -> str:
    return _WORDS.get(getattr(error, "reason", None) or "", "it is no PEM file that OpenSSL can read")
