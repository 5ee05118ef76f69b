"""A kept answer, and its form in Redis: magic, time of expiry, checksum, answer."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from google.protobuf.message import DecodeError

from ferry.v1 import gateway_pb2

MAX_PAYLOAD_BYTES = 1 << 20
"""Largest answer kept; one of 256 faces judged by three models has about a quarter of it."""

Faces: TypeAlias = tuple[tuple[int, int], ...]

_HEAD = struct.Struct(">4sd16s")
_MAGIC = b"FRY1"
MAX_PACKED_BYTES = _HEAD.size + MAX_PAYLOAD_BYTES


@dataclass(frozen=True)
class Entry:
    """One kept answer.

    Attributes:
        payload: a serialised RecognizeResponse without what belongs to a single request.
        expires: Unix time, seconds.
    """

    payload: bytes
    expires: float

    @cached_property
    def faces(self) -> Faces:
        """How many faces show what; looked up once, when first asked for."""
        return count_faces(gateway_pb2.RecognizeResponse.FromString(self.payload))


def count_faces(response: gateway_pb2.RecognizeResponse) -> Faces:
    """Numbers of the contract's expressions, and how many faces show each."""
    return tuple(Counter(face.expression for face in response.faces).items())


def pack(key: bytes, entry: Entry) -> bytes:
    """The value to store under `key`."""
    return _HEAD.pack(_MAGIC, entry.expires, _checksum(key, entry)) + entry.payload


def unpack(key: bytes, value: bytes) -> Entry | None:
    """The entry in a value found under `key`; None for anything that `pack(key, ...)` did not write."""
    if not _HEAD.size < len(value) <= MAX_PACKED_BYTES:
        return None
    magic, expires, checksum = _HEAD.unpack_from(value)
    entry = Entry(value[_HEAD.size :], expires)
    if magic != _MAGIC or checksum != _checksum(key, entry):
        return None
    try:
        gateway_pb2.RecognizeResponse.FromString(entry.payload)
    except DecodeError:
        return None
    return entry


def _checksum(key: bytes, entry: Entry) -> bytes:
    # With the key in it, an answer that comes back for another question is found out.
    digest = hashlib.blake2b(key + struct.pack(">d", entry.expires), digest_size=16)
    digest.update(entry.payload)
    return digest.digest()
