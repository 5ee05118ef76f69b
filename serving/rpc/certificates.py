"""A server's certificates, read again when their files have been renewed; connections that are open go on."""

from __future__ import annotations

import grpc

from ferry.tls import Pem, Tls, TlsError
from serving.watched_file import WatchedFile


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """Credentials that look at the files with every new connection.

    Args:
        tls: with a certificate. With `ca`, callers must have a certificate of that authority.

    Raises:
        TlsError: the files do not fit.
    """
    configuration = WatchedFile(
        "certificates", lambda: _configuration(tls.read()), tls.signature, errors=(TlsError, OSError)
    )
    return grpc.dynamic_ssl_server_credentials(
        configuration.value,
        # Called from threads of gRPC's own, one after the other for a port; the stub does not know that None means no
        # change.
        lambda: configuration.value if configuration.look() else None,  # type: ignore[arg-type,return-value]
        require_client_authentication=tls.ca is not None,
    )


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    assert pem.key is not None
    assert pem.cert is not None
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.ca)
