"""One file over HTTP, bounded in bytes and seconds, accepted only with the SHA-256 it was promised with."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from serving.http_url import http_url

log = logging.getLogger(__name__)
# It would write down addresses with their secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

MAX_REDIRECTS = 5
_IDLE_SECONDS = 10.0
"""Longest silence of a server, connecting included."""
_REDIRECTS = {301, 302, 303, 307, 308}
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
    if url.startswith("s3://"):
        raise ValueError("must be http:// or https://; for an object in S3 its https address, presigned or not")
    return http_url(url)


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
            digest = asyncio.run(_attempt(url, target, limits.size, deadline))
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


async def _attempt(url: str, target: Path, size: int, deadline: float) -> str:
    """Downloads once; the SHA-256 of what came."""
    left = deadline - time.monotonic()
    try:
        # Whatever the server does or leaves undone, and whichever step it is: all of it ends here.
        async with asyncio.timeout(left), _client(min(_IDLE_SECONDS, max(left, 0.001))) as client:
            for _ in range(MAX_REDIRECTS + 1):
                async with client.stream("GET", url) as response:
                    if response.status_code in _REDIRECTS:
                        url = _redirected(url, response.headers.get("Location", ""))
                        continue
                    if response.status_code != httpx.codes.OK:
                        text = f"{shown(url)} answered {response.status_code} {response.reason_phrase}"
                        raise DownloadError(text, again=response.status_code in _TRY_AGAIN)
                    return await _save(response, url, target, size)
    except TimeoutError as error:
        raise DownloadError(f"{shown(url)}: not complete when the time was up") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        certificate = _certificate_error(error)
        if certificate:
            raise DownloadError(f"{shown(url)}: its certificate is not trusted: {certificate}") from error
        raise DownloadError(f"{shown(url)}: {_told(error)}", again=True) from error
    raise DownloadError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")


def _client(idle: float) -> httpx.AsyncClient:
    """Without proxies and passwords of the environment, and with the certificates that the machine trusts."""
    return httpx.AsyncClient(
        timeout=idle,
        trust_env=False,
        verify=ssl.create_default_context(),
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "ferry"},
    )


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    try:
        parts = check_url(target)
    except ValueError as error:
        raise DownloadError(f"{shown(url)} redirects to an address that {error}") from error
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise DownloadError(f"{shown(url)} redirects from https to http")
    return target


def _told(error: Exception) -> str:
    """What a failed connection says; where the client only wraps it, what the system said."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return os.strerror(cause.errno) if isinstance(cause, ConnectionError) and cause.errno else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _certificate_error(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return ""


async def _save(response: httpx.Response, url: str, target: Path, size: int) -> str:
    announced = response.headers.get("Content-Length", "")
    promised = int(announced) if announced.isascii() and announced.isdecimal() else None
    if promised is not None and promised > size:
        raise DownloadError(f"{shown(url)} has {promised} bytes, allowed are {size}")
    digest, received = hashlib.sha256(), 0
    try:
        with target.open("wb") as file:
            async for block in response.aiter_raw():
                received += len(block)
                if received > size:
                    raise DownloadError(f"{shown(url)} has more than the {size} bytes allowed")
                digest.update(block)
                file.write(block)
    except httpx.RemoteProtocolError as error:
        if promised is not None and received < promised:
            raise DownloadError(f"{shown(url)} ended after {received} of {promised} bytes", again=True) from error
        raise
    except OSError as error:
        raise DownloadError(f"cannot write {target}: {error.strerror}") from error
    return digest.hexdigest()
