"""Why no gateway answers where somebody listens: most often one end speaks TLS and the other does not, or they do not
trust each other. gRPC does not tell, so the connection is tried once more, by hand."""

from __future__ import annotations

import re
import socket
import ssl
import time
from dataclasses import dataclass

from ferry.tls import Tls

_MOST_SECONDS = 1.0
_ALERT_SECONDS = 0.2
"""For the first byte after the handshake, by which an HTTP/2 server shows that it took the caller's certificate."""
_REFUSALS = {
    9: "it is not valid yet",
    10: "it has expired",
    **dict.fromkeys((2, 18, 19, 20, 21), "its authority is not trusted"),
    62: "it is for another name",
    64: "it is for another address",
}
"""By OpenSSL's codes (X509_V_ERR_...), as far as people meet them."""
_HOST_AND_PORT = re.compile(r"(?:dns:///)?\[?([^\[\],/]+)\]?:([0-9]+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client calls, and how.

    Attributes:
        address: as it was given.
        tls: its certificates; None: it does not speak TLS.
        known: False where it speaks TLS by gRPC's own credentials, of which nothing is known.
    """

    address: str
    tls: Tls | None = None
    known: bool = True

    def mistake(self, seconds: float) -> str | None:
        """What is wrong between the two ends, as a sentence; None: nothing of that kind, or it cannot be told.

        Args:
            seconds: that it may take.
        """
        match = _HOST_AND_PORT.match(self.address)
        if match is None or not self.known or seconds <= 0:
            return None
        host, port = match[1], int(match[2])
        end = time.monotonic() + min(seconds, _MOST_SECONDS)
        try:
            with socket.create_connection((host, port), timeout=max(0.01, end - time.monotonic())) as plain:
                return _of_plain(plain) if self.tls is None else _of_tls(plain, host, self.tls)
        except (OSError, ValueError):
            return None


def _of_plain(connection: socket.socket) -> str | None:
    """Of a caller without TLS: somebody who completes a handshake wants it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        context.wrap_socket(connection).close()
    except (OSError, ValueError):
        return None
    return "it speaks TLS; say whom to trust with tls=Tls(ca=FILE), or --tls-ca FILE"


def _of_tls(connection: socket.socket, host: str, tls: Tls) -> str | None:
    context = ssl.create_default_context(cafile=tls.ca)
    context.set_alpn_protocols(["h2"])
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    try:
        secure = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        trusted = "the system trusts" if tls.ca is None else f"{tls.ca} holds"
        why = _REFUSALS.get(error.verify_code, "it cannot be verified")
        return f"its certificate is not accepted: {why}; it must be for {host}, of an authority that {trusted}"
    except ssl.SSLError:
        return "it does not speak TLS; leave certificates (tls, --tls-ca) out"
    with secure:
        secure.settimeout(_ALERT_SECONDS)
        try:
            welcome = bool(secure.recv(1))
        except TimeoutError:
            return None
        except OSError:
            welcome = False
    if welcome:
        return None
    if tls.cert is None:
        return "it asks for a certificate of the caller; give cert and key (--tls-cert, --tls-key)"
    return f"it does not accept the certificate in {tls.cert}; it must be of an authority that it trusts"
