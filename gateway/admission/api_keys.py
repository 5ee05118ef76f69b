"""Who may call: a file with the SHA-256 of each client's key, read again when it changes."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from hmac import compare_digest
from pathlib import Path

from serving.errors import UnauthenticatedError

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 20
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})\s+([0-9a-f]{64})")
_LOOK_SECONDS = 1.0
"""Least time between two looks at the file."""
_SCHEME = "bearer "


class ApiKeysError(ValueError):
    """A file that cannot be used; the message names it, and the line."""


class ApiKeys:
    """The keys of a file: one a line, a client's name and the SHA-256 of its key in hexadecimal; `#` begins a comment.
    A name may have several lines, so that a client can change its key without a pause."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ApiKeysError: the file cannot be read or does not fit.
        """
        self._path = path
        self._seen, self._keys = _read(path)
        self._looked_at = time.monotonic()

    def check(self, authorization: str | None) -> str:
        """The name of the client whose key is in `authorization`, the metadata of a call: `Bearer KEY`.

        Raises:
            UnauthenticatedError: there is none, or nobody has it.
        """
        self._renew()
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            raise UnauthenticatedError("this cluster asks for an API key in the metadata `authorization: Bearer KEY`")
        digest = hashlib.sha256(authorization[len(_SCHEME) :].strip().encode()).digest()
        # All of them, always: how long it takes tells nothing about the keys.
        names = [name for name, known in self._keys if compare_digest(known, digest)]
        if not names:
            raise UnauthenticatedError("the API key is not known here")
        return names[0]

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            if _signature(self._path) != self._seen:
                self._seen, self._keys = _read(self._path)
                log.info("API keys read", extra={"keys": len(self._keys)})
        except ApiKeysError as error:
            log.warning("the former API keys stay: %s", error)


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ApiKeysError(f"api_keys: {path} cannot be read: {error.strerror}") from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> tuple[tuple[int, int, int], tuple[tuple[str, bytes], ...]]:
    signature = _signature(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ApiKeysError(f"api_keys: {path} cannot be read: {error}") from error
    if len(text) > MAX_FILE_BYTES:
        raise ApiKeysError(f"api_keys: {path} is larger than {MAX_FILE_BYTES} bytes")
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        if match is None:
            # Not what stands there: it may be a key.
            raise ApiKeysError(f"api_keys: {path}, line {number} is not NAME and a SHA-256 in 64 hexadecimal digits")
        keys.append((match[1], bytes.fromhex(match[2])))
    if not keys:
        raise ApiKeysError(f"api_keys: {path} has no keys: nobody could call")
    return signature, tuple(keys)
