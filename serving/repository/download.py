"""One file over HTTP, bounded in bytes and seconds, accepted only with the SHA-256 it was promised with."""

from __future__ import annotations

import hashlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

log = logging.getLogger(__name__)

MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 20
_IDLE_SECONDS = 10.0
"""Longest silence of a server, connecting included."""
_PORTS = {"http": 80, "https": 443}
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(Exception):
    """The file cannot be had; the message says why, without what is secret in a presigned address.

    Attributes:
        again: whether another attempt may go better.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Limits:
    """What a download may take.

    Attributes:
        size: bytes.
        seconds: for all attempts together.
        attempts: 1 or more.
        pause: seconds before the second attempt; twice as long before each further one.
    """

    size: int = 2 << 30
    seconds: float = 120.0
    attempts: int = 4
    pause: float = 1.0


def check_url(url: str) -> SplitResult:
    """The parts of an address that may be asked.

    Raises:
        ValueError: it is not http or https, names no host, or carries a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError("must be http:// or https://; for an object in S3 its https address, presigned or not")
    if not parts.hostname or any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):
        raise ValueError("must name a host, and hold neither spaces nor letters outside ASCII")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or a password")
    _ = parts.port  # raises for one that is no number
    return parts


def shown(url: str) -> str:
    """An address without its query, which in a presigned one is the secret."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def download(url: str, sha256: str, target: Path, limits: Limits) -> None:
    """Writes the file at `url` to `target`, which is complete and has the digest `sha256` if this returns.

    Raises:
        DownloadError: it cannot be had or written, is larger than allowed, took too long, or is another one.
    """
    deadline = time.monotonic() + limits.seconds
    pause = limits.pause
    for attempt in range(1, limits.attempts + 1):
        try:
            digest = _attempt(url, target, limits.size, deadline)
        except DownloadError as error:
            left = deadline - time.monotonic()
            if not error.again or attempt == limits.attempts or left <= pause:
                raise DownloadError(f"{error} (attempt {attempt} of {limits.attempts})") from error
            log.warning("%s; trying again in %.1f s", error, pause)
            time.sleep(pause)
            pause *= 2
            continue
        if digest != sha256:
            raise DownloadError(f"{shown(url)} is another file: its SHA-256 is {digest}, expected was {sha256}")
        return


def _attempt(url: str, target: Path, size: int, deadline: float) -> str:
    """Downloads once; the SHA-256 of what came."""
    for _ in range(MAX_REDIRECTS + 1):
        with _answer(url, deadline) as response:
            if response.status in {301, 302, 303, 307, 308}:
                url = _redirected(url, response.headers.get("Location", ""))
                continue
            if response.status != http.client.OK:
                text = f"{shown(url)} answered {response.status} {response.reason}"
                raise DownloadError(text, again=response.status in _TRY_AGAIN)
            return _save(response, url, target, size, deadline)
    raise DownloadError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    try:
        parts = check_url(target)
    except ValueError as error:
        raise DownloadError(f"{shown(url)} redirects to an address that {error}") from error
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise DownloadError(f"{shown(url)} redirects from https to http")
    return target


@contextmanager
def _answer(url: str, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to GET `url`. The connection is cut at the deadline, in whatever it is then doing."""
    parts = check_url(url)
    left = deadline - time.monotonic()
    if left <= 0:
        raise DownloadError(f"{shown(url)}: the time was up")
    host, port, idle = str(parts.hostname), parts.port or _PORTS[parts.scheme], min(_IDLE_SECONDS, left)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=idle, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=idle)
    )
    watch = threading.Timer(left, _cut, (connection,))
    watch.daemon = True
    watch.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "ferry"})
        yield connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise DownloadError(f"{shown(url)}: its certificate is not trusted: {error.verify_message}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= deadline:
            raise DownloadError(f"{shown(url)}: not complete when the time was up") from error
        raise DownloadError(f"{shown(url)}: {error or type(error).__name__}", again=True) from error
    finally:
        watch.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    sock: socket.socket | None = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _save(response: http.client.HTTPResponse, url: str, target: Path, size: int, deadline: float) -> str:
    promised = response.length
    if promised is not None and promised > size:
        raise DownloadError(f"{shown(url)} has {promised} bytes, allowed are {size}")
    digest, received = hashlib.sha256(), 0
    with target.open("wb", buffering=0) as file:
        # What has arrived, and not a whole chunk, which a slow server could take forever to fill.
        while block := response.read1(_CHUNK_BYTES):
            received += len(block)
            if received > size:
                raise DownloadError(f"{shown(url)} has more than the {size} bytes allowed")
            digest.update(block)
            try:
                file.write(block)
            except OSError as error:
                raise DownloadError(f"cannot write {target}: {error.strerror}") from error
    if time.monotonic() >= deadline:
        raise DownloadError(f"{shown(url)}: not complete when the time was up")
    if promised is not None and received < promised:
        raise DownloadError(f"{shown(url)} ended after {received} of {promised} bytes", again=True)
    return digest.hexdigest()
