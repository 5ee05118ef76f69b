"""What is kept of one answer, and of one beside a shadow's, and its form in Redis: a head for feedback, then JSON.

Of a face: its expression (number of the contract) and seven probabilities in thousandths, in the order of the enum.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ferry.v1 import types_pb2

FINGERPRINT_DIGITS = 16
"""Of 64: enough to tell the pipelines of a cluster apart."""

EXPRESSIONS = frozenset(types_pb2.Expression.values()) - {types_pb2.EXPRESSION_UNSPECIFIED}

_VERSION = "1"
_THOUSANDTHS = 1000
_MOST = 1e12
"""Of a time in seconds or milliseconds, and of any count."""
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


def face(message: types_pb2.Face) -> Face:
    """What is kept of a face."""
    return (message.expression, *(round(1000 * entry.probability) for entry in message.probabilities))


def faces(messages: Iterable[types_pb2.Face]) -> tuple[Face, ...]:
    """What is kept of faces."""
    return tuple(face(message) for message in messages)


def pack(record: Exposure | Pair, owner: str = "") -> bytes:
    """The value to store; `owner` is the hash of the identity that got an exposure's answer."""
    shown = len(record.faces) if isinstance(record, Exposure) else len(record.matched)
    head = f"{_VERSION} {owner or '-'} {shown} {record.time:.3f}\n"
    fields = {name: getattr(record, name) for name in record.__slots__}  # asdict copies each face: ten times the work
    return (head + json.dumps(fields, separators=(",", ":"))).encode()


def head_of(value: bytes) -> Head:
    """
    Raises:
        RecordError: it is none, or one of another version.
    """
    try:
        version, owner, shown, time = value.partition(b"\n")[0].decode().split(" ")
        if version != _VERSION:
            raise RecordError(f"a record of version {version}")
        head = Head(owner, int(shown), float(time))
    except ValueError as error:
        raise RecordError(str(error)) from error
    if head.faces < 0 or not math.isfinite(head.time):
        raise RecordError("no such number of faces, or no time")
    return head


def exposure_of(value: bytes) -> Exposure:
    """
    Raises:
        RecordError: it is none, or one of another version.
    """
    fields = _fields(value)
    try:
        fields["faces"] = tuple(map(_face_of, fields["faces"]))
        return Exposure(**_sound(Exposure, fields))
    except (TypeError, KeyError) as error:
        raise RecordError(str(error)) from error


def pair_of(value: bytes) -> Pair:
    """
    Raises:
        RecordError: it is none, or one of another version.
    """
    fields = _fields(value)
    try:
        matched = fields["matched"]
        fields["matched"] = tuple((_whole(i), _face_of(one), _face_of(other)) for i, one, other in matched)
        return Pair(**_sound(Pair, fields))
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(str(error)) from error


def _fields(value: bytes) -> dict[str, Any]:
    head_of(value)
    try:
        fields = json.loads(value.partition(b"\n")[2])
    except (ValueError, RecursionError) as error:
        raise RecordError(str(error)) from error
    if not isinstance(fields, dict):
        raise RecordError("no fields")
    return fields


def _face_of(value: Any) -> Face:
    if (
        type(value) is not list
        or not 1 <= len(value) <= 1 + len(EXPRESSIONS)
        or not all(type(number) is int and 0 <= number <= _THOUSANDTHS for number in value)
        or (value[0] and value[0] not in EXPRESSIONS)
    ):
        raise RecordError("no face")
    return tuple(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise RecordError(f"no whole number: {value!r}")
    return value


def _sound(kind: type[Exposure | Pair], fields: dict[str, Any]) -> dict[str, Any]:
    """Raises RecordError: one record with a time that is no number would leave a report without figures."""
    for name, wanted in _TYPES[kind].items():
        value: Any = fields[name]
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise RecordError(f"{name} is {type(value).__name__}")
        if wanted in {int, float} and not 0 <= value <= _MOST:  # so that NaN fails too
            raise RecordError(f"{name} is {value}")
    return fields


_PLAIN: dict[Any, type[Any]] = {"str": str, "bool": bool, "int": int, "float": float}
_TYPES = {
    kind: {one.name: _PLAIN[one.type] for one in dataclasses.fields(kind) if one.type in _PLAIN}
    for kind in (Exposure, Pair)
}
"""Of the plain fields, which the annotations name."""
