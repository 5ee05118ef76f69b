"""What is kept of one answer, and of one beside a shadow's, and its form in Redis: a head for feedback, then JSON.

Of a face: its expression (number of the contract) and seven probabilities in thousandths, in the order of the enum.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from ferry.v1 import types_pb2

FINGERPRINT_DIGITS = 16
"""Of 64: enough to tell the pipelines of a cluster apart."""

Face = tuple[int, ...]
"""Expression, then seven probabilities in thousandths."""


class RecordError(ValueError):
    """Bytes that are no record."""


@dataclass(frozen=True, slots=True)
class Head:
    """What feedback has to know of an exposure.

    Attributes:
        owner: hash of the identity that got the answer.
        faces: in the answer.
        time: Unix time of the answer, seconds.
    """

    owner: str
    faces: int
    time: float


@dataclass(frozen=True, slots=True)
class Exposure:
    """One image that somebody fell to a variant with.

    Attributes:
        time: Unix time of the answer, seconds.
        assigned: the variant that the caller fell to.
        variant: the one that answered; empty where none did.
        fingerprint: of the pipeline that answered, its first 16 digits.
        table: names the shares of the routing table in use.
        caller: salted hash of the caller's key, or of the request id where there is none.
        cached: whether the answer came from the cache.
        degraded: whether a model did not answer.
        milliseconds: from the gateway's receipt to the answer.
        error: name of the status with which the assigned variant failed; empty where it answered.
        faces: in the order of the answer.
    """

    time: float
    assigned: str
    variant: str
    fingerprint: str
    table: str
    caller: str
    cached: bool
    degraded: bool
    milliseconds: float
    error: str
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer and what a shadow said of the same image.

    Attributes:
        time: Unix time of the shadow's answer, seconds.
        request_id: of the original.
        variant, fingerprint, milliseconds: of the original.
        shadow, shadow_fingerprint, shadow_milliseconds: of the copy's answer.
        caller: as of an exposure.
        matched: for each face that both found: its index in the original answer, what the original said, what the
            shadow said.
        only_original: faces that the shadow did not find.
        only_shadow: faces that it alone found.
    """

    time: float
    request_id: str
    variant: str
    fingerprint: str
    milliseconds: float
    shadow: str
    shadow_fingerprint: str
    shadow_milliseconds: float
    caller: str
    matched: tuple[tuple[int, Face, Face], ...]
    only_original: int
    only_shadow: int


RecordT = TypeVar("RecordT", Exposure, Pair)


def face(message: types_pb2.Face) -> Face:
    """What is kept of a face."""
    return (message.expression, *(round(1000 * entry.probability) for entry in message.probabilities))


def faces(messages: Iterable[types_pb2.Face]) -> tuple[Face, ...]:
    """What is kept of faces."""
    return tuple(face(message) for message in messages)


def pack(record: Exposure | Pair, owner: str = "") -> bytes:
    """The value to store; `owner` is the hash of the identity that got an exposure's answer."""
    shown = len(record.faces) if isinstance(record, Exposure) else len(record.matched)
    head = f"1 {owner or '-'} {shown} {record.time:.3f}\n"
    fields = {name: getattr(record, name) for name in record.__slots__}  # asdict copies each face: ten times the work
    return (head + json.dumps(fields, separators=(",", ":"))).encode()


def head_of(value: bytes) -> Head:
    """
    Raises:
        RecordError: it is none.
    """
    try:
        version, owner, shown, time = value.partition(b"\n")[0].decode().split(" ")
        if version != "1":
            raise RecordError(f"a record of version {version}")
        return Head(owner, int(shown), float(time))
    except ValueError as error:
        raise RecordError(str(error)) from error


def exposure_of(value: bytes) -> Exposure:
    """
    Raises:
        RecordError: it is none.
    """
    try:
        fields = json.loads(value.partition(b"\n")[2])
        fields["faces"] = tuple(map(tuple, fields["faces"]))
        return _sound(Exposure(**fields), fields["milliseconds"])
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(str(error)) from error


def pair_of(value: bytes) -> Pair:
    """
    Raises:
        RecordError: it is none.
    """
    try:
        fields = json.loads(value.partition(b"\n")[2])
        fields["matched"] = tuple((int(i), tuple(one), tuple(other)) for i, one, other in fields["matched"])
        return _sound(Pair(**fields), fields["milliseconds"], fields["shadow_milliseconds"])
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(str(error)) from error


def _sound(record: RecordT, *milliseconds: float) -> RecordT:
    """Raises ValueError or TypeError where a time is no number: one such record would leave a report no figures."""
    if not all(math.isfinite(value) for value in (record.time, *milliseconds)):
        raise ValueError("a time that is no number")
    return record
