"""Who may call: a file with the SHA-256 of each client's key, read again when it changes."""

from __future__ import annotations

import hashlib
import re
from hmac import compare_digest
from pathlib import Path

from serving.bounded_read import read_bounded
from serving.errors import UnauthenticatedError
from serving.watched_file import Signature, WatchedFile, signature

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
        self._file = WatchedFile(
            "API keys",
            lambda: _read(path),
            lambda: _signature(path),
            errors=(ApiKeysError,),
            least_seconds=_LOOK_SECONDS,
        )

    def check(self, authorization: str | None) -> str:
        """The name of the client whose key is in `authorization`, the metadata of a call: `Bearer KEY`.

        Raises:
            UnauthenticatedError: there is none, or nobody has it.
        """
        self._file.look()
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            raise UnauthenticatedError("this cluster asks for an API key; send it as `authorization: Bearer KEY`")
        digest = hashlib.sha256(authorization[len(_SCHEME) :].strip().encode()).digest()
        # All of them, always: how long it takes tells nothing about the keys.
        names = [name for name, known in self._file.value if compare_digest(known, digest)]
        if not names:
            raise UnauthenticatedError("the API key is not known here")
        return names[0]


def _signature(path: Path) -> Signature:
    try:
        return signature([path])
    except OSError as error:
        raise ApiKeysError(f"api_keys: {path} cannot be read: {error.strerror}") from error


def _read(path: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        text = read_bounded(path, MAX_FILE_BYTES + 1).decode()
    except OSError as error:
        raise ApiKeysError(f"api_keys: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ApiKeysError(f"api_keys: {path} is no text") from error
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
    return tuple(keys)
