"""A server's certificates, read again when their files have been renewed; connections that are open go on."""

from __future__ import annotations

import logging

import grpc

from ferry.tls import Pem, Signature, Tls, TlsError

log = logging.getLogger(__name__)


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """Credentials that look at the files with every new connection.

    Args:
        tls: with a certificate. With `ca`, callers must have a certificate of that authority.

    Raises:
        TlsError: the files do not fit.
    """
    renewal = _Renewal(tls)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls.read()),
        renewal.look,  # type: ignore[arg-type]  # the stub does not know that None means no change
        require_client_authentication=tls.ca is not None,
    )


class _Renewal:
    """Called by gRPC from threads of its own, one after the other for a port."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen: Signature = tls.signature()

    def look(self) -> grpc.ServerCertificateConfiguration | None:
        """What is new; None while the files are as they were, or where they cannot be used."""
        try:
            signature = self._tls.signature()
            if signature == self._seen:
                return None
            pem = self._tls.read()
        except (TlsError, OSError) as error:
            log.warning("certificates are not renewed: %s", error)
            return None
        self._seen = signature
        log.info("certificates renewed")
        return _configuration(pem)


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    assert pem.key is not None
    assert pem.cert is not None
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.ca)
