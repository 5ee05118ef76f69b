"""Certificates from files, for both ends of a connection: who I am (cert, key) and whom I trust (ca)."""

from __future__ import annotations

import re
import ssl
import stat
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
        if self.cert is not None and self.key is not None:
            _check_pair(self.cert, self.key, pem)
        if self.ca is not None:
            if _CERTIFICATE not in (pem.ca or b""):
                raise TlsError(f"tls_ca: {self.ca} holds no certificate in PEM")
            if not _can_be_read(self.ca):
                raise TlsError(f"tls_ca: {self.ca} is broken: a certificate in it cannot be read")
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
                if not stat.S_ISREG(status.st_mode):  # to open a pipe may take for ever
                    raise TlsError(f"{field}: {path} is not a plain file")
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


_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")
_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
_TOO_WEAK = {
    "EE_KEY_TOO_SMALL": "its key is too short",
    "CA_KEY_TOO_SMALL": "the key of its authority is too short",
    "CA_MD_TOO_WEAK": "its signature is too weak",
}
"""OpenSSL's reasons. It often gives none, so what is wrong with a file is looked for here."""


def _check_pair(cert: str | Path, key: str | Path, pem: Pem) -> None:
    if _CERTIFICATE not in (pem.cert or b""):
        raise TlsError(f"tls_cert: {cert} holds no certificate in PEM")
    if not _KEY.search(pem.key or b""):
        raise TlsError(f"tls_key: {key} holds no private key in PEM")
    if b"ENCRYPTED" in (pem.key or b""):
        raise TlsError(f"tls_key: {key} is encrypted with a password; it has to be without one")
    try:
        # A password would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if reason in _OF_ANOTHER:
            raise TlsError(f"tls_key: {key} is not the key of {cert}: they do not belong together") from error
        if reason in _TOO_WEAK:
            raise TlsError(f"tls_cert: {cert} is not safe enough for today: {_TOO_WEAK[reason]}") from error
        if not _can_be_read(cert):
            raise TlsError(f"tls_cert: {cert} is broken: a certificate in it cannot be read") from error
        raise TlsError(f"tls_key: {key} is broken: the key in it cannot be read") from error


def _can_be_read(certificates: str | Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificates)
    except ssl.SSLError:
        return False
    return True
