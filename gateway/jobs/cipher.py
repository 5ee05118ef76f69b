"""What lies in Redis says nothing to whoever does not have the key: AES-256-GCM, and keyed hashes of who owns it."""

from __future__ import annotations

import hashlib
import os
import re
from hmac import compare_digest
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.config_file import ConfigFileError

_LINE: Final = re.compile(r"[0-9a-fA-F]{64}")
_MAX_FILE_BYTES: Final = 4096
_VERSION: Final = b"\x01"
_ID_BYTES, _NONCE_BYTES = 4, 12
_HEAD: Final = len(_VERSION) + _ID_BYTES + _NONCE_BYTES
OVERHEAD_BYTES: Final = _HEAD + 16
"""What encryption adds."""


class SealError(ValueError):
    """Bytes that none of the keys opens."""


class Cipher:
    """The first key seals, all of them open, so that a key can be changed while jobs wait."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: a file with keys, one a line: 32 bytes in 64 hexadecimal digits; `#` begins a comment.

        Raises:
            ConfigFileError: it cannot be read or does not fit.
        """
        masters = _read(path)
        self._seals = {
            _derived(master, b"name", _ID_BYTES): AESGCM(_derived(master, b"seal", 32)) for master in masters
        }
        self._first = next(iter(self._seals))
        self._hashing = [_derived(master, b"hash", 32) for master in masters]

    def seal(self, data: bytes, place: str) -> bytes:
        """`data`, encrypted; `place` names where it lies, and has to be the same when it is opened."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + self._first + nonce + self._seals[self._first].encrypt(nonce, data, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """
        Raises:
            SealError: none of the keys opens it, or it was not sealed for this place.
        """
        seal = self._seals.get(sealed[len(_VERSION) : len(_VERSION) + _ID_BYTES])
        if not sealed.startswith(_VERSION) or seal is None:
            raise SealError("sealed with a key that is not known here")
        try:
            return seal.decrypt(sealed[_HEAD - _NONCE_BYTES : _HEAD], sealed[_HEAD:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError("broken, or sealed for another place") from error

    def hash(self, text: bytes) -> str:
        """32 hexadecimal digits, the same for the same text as long as the first key stays."""
        return _keyed(text, self._hashing[0])

    def is_hash(self, digits: str, text: bytes) -> bool:
        """Whether `digits` are the hash of `text` by one of the keys."""
        return any(compare_digest(digits, _keyed(text, key)) for key in self._hashing)


def _keyed(text: bytes, key: bytes) -> str:
    return hashlib.blake2b(text, key=key, digest_size=16).hexdigest()


def _derived(master: bytes, purpose: bytes, size: int) -> bytes:
    return hashlib.blake2b(b"", key=master, person=b"ferry job " + purpose, digest_size=size).digest()


def _read(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigFileError(f"{path} cannot be read: {reason}") from error
    if len(text) > _MAX_FILE_BYTES:
        raise ConfigFileError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        if not _LINE.fullmatch(content):
            # Not what stands there: it may be a key.
            raise ConfigFileError(f"{path}, line {number} is no key: 64 hexadecimal digits (`openssl rand -hex 32`)")
        keys.append(bytes.fromhex(content))
    if not keys:
        raise ConfigFileError(f"{path} holds no key: write one with `openssl rand -hex 32`")
    return keys
