"""HTTP/1.1 with bounds that uvicorn leaves to others: connections, time for headers, and who does not read or stop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.http.problems import Problem
from serving.rpc.identity import UNTOLD

HEADER_SECONDS: Final = 10.0
"""From the connection, or the first byte of a later request, to the end of the headers."""
LINGER_SECONDS: Final = 5.0
"""How long a sender is listened to that goes on after its answer; who is cut off at once may not see the answer."""
SEND_SECONDS: Final = 30.0
"""For a receiver to take 64 KiB."""


_HEADER_BYTES: Final = 16 << 10
"""Where the server says nothing else."""
FREE_CHUNKS: Final = 1024
LEAST_CHUNK_BYTES: Final = 1024
"""What chunks of a body must have on average, after the first so many: each costs as much time as some kilobytes do."""
_KINDS: Final = frozenset({"DNS", "email", "URI", "IP Address"})
"""Of alternative names, as OpenSSL calls those that can be read."""
_WHY: Final = {
    431: "the headers are too large",
    501: "this Transfer-Encoding is not taken; send Content-Length, or chunked alone",
}


class TinyChunksError(h11.RemoteProtocolError):
    """A body of chunks that are hardly larger than what stands around them."""


class Connection(h11.Connection):
    """The parser of a connection, with a bound on the number of chunks."""

    def __init__(self, max_header_bytes: int) -> None:
        """
        Args:
            max_header_bytes: of one request.
        """
        super().__init__(h11.SERVER, max_header_bytes)
        self._chunks = self._bytes = 0

    def next_event(self) -> Any:
        """As h11's.

        Raises:
            h11.RemoteProtocolError: what came is no HTTP, or in tiny chunks.
        """
        event = super().next_event()
        if type(event) is h11.Data:
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > FREE_CHUNKS + self._bytes // LEAST_CHUNK_BYTES:
                raise TinyChunksError("the chunks of the body are too small; send it in larger ones", 400)
        elif type(event) is h11.Request:
            self._chunks = self._bytes = 0
        return event


class Protocol(H11Protocol):
    """One connection.

    Attributes:
        since: by the loop's clock, when it came, or its latest answer was complete.
    """

    def __init__(self, config: Config, *arguments: Any, **more: Any) -> None:
        super().__init__(config, *arguments, **more)
        self.conn = Connection(config.h11_max_incomplete_event_size or _HEADER_BYTES)

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        certificate = names_of_certificate(transport.get_extra_info("peercert"))
        self.app_state = {**self.app_state, "certificate": certificate, "closing": transport.is_closing}
        self._start("headers", HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in tuple(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        awaited = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if awaited and not self.transport.is_closing():
            self._start("headers", HEADER_SECONDS)
        else:
            self._stop("headers")
        if self.conn.their_state is not h11.SEND_BODY:
            self._stop("linger")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._start("linger", LINGER_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start("send", SEND_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("send")

    def send_400_response(self, msg: str) -> None:
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        said = str(error) if isinstance(error, TinyChunksError) else _WHY.get(status, "this is no valid HTTP/1.1")
        self.transport.write(Problem(status, said).raw())
        self.transport.close()

    def _start(self, name: str, seconds: float) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self._timed_out(name))

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _timed_out(self, name: str) -> Callable[[], None]:
        def end() -> None:
            self._timers.pop(name, None)
            self.transport.abort()

        return end


def names_of_certificate(certificate: dict[str, Any] | None) -> dict[str, list[bytes]]:
    """Names in a checked certificate, as gRPC's `auth_context` gives them.

    Args:
        certificate: as `ssl.SSLSocket.getpeercert` gives it; None or empty: none.
    """
    if not certificate:
        return {}
    alternative = [_written(kind, value).encode() for kind, value in certificate.get("subjectAltName", ())]
    common = [
        value.encode() for group in certificate.get("subject", ()) for name, value in group if name == "commonName"
    ]
    return {"x509_subject_alternative_name": alternative, "x509_common_name": common}


def _written(kind: str, value: Any) -> str:
    """An alternative name as gRPC writes it: of those that Python does not show either, only that there is one."""
    if kind not in _KINDS:
        return UNTOLD
    try:
        packed = ipaddress.ip_address(value).packed if kind == "IP Address" else b""
    except ValueError:
        return UNTOLD
    if not packed:
        return str(value)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
