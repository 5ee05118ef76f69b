"""Tensors of the protocol, without NumPy: the gateway has none."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from serving.errors import InvalidArgumentError

BYTES: Final = "BYTES"
SIZES: Final = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes of an element, by datatype; those of BYTES differ."""
MAX_AXES: Final = 8
_SHOWN = 64
"""Characters of what a caller sent that an error shows."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model takes or answers.

    Attributes:
        name: unique among its inputs, or its outputs.
        datatype: a key of `SIZES`, or BYTES.
        shape: -1: of any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor may have `shape`."""
        return len(shape) == len(self.shape) and all(
            want in {-1, axis} for axis, want in zip(shape, self.shape, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor and its values.

    Attributes:
        name: of the input or output.
        datatype: a key of `SIZES`, or BYTES.
        shape: axes of 0 or more.
        data: little-endian, row by row; empty where it is of BYTES.
        items: the elements of one of BYTES; else empty.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes = b""
    items: tuple[bytes, ...] = ()

    @property
    def raw(self) -> bytes:
        """The values as raw contents."""
        return join(self.items) if self.datatype == BYTES else self.data


def shown(text: str) -> str:
    """What a caller sent, short, in quotation marks."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def elements(shape: Sequence[int], field: str) -> int:
    """How many a tensor of this shape has.

    Raises:
        InvalidArgumentError: no tensor has this shape; names `field`.
    """
    if not 1 <= len(shape) <= MAX_AXES or any(axis < 1 for axis in shape):
        given = str(list(shape[:MAX_AXES])) if len(shape) <= MAX_AXES else f"{len(shape)} axes"
        raise InvalidArgumentError(field, f"must have 1 to {MAX_AXES} axes of 1 or more, not {given}")
    return math.prod(shape)


def check_size(given: int, datatype: str, shape: Sequence[int], field: str) -> None:
    """That raw contents of `given` bytes are what `datatype` and `shape` need.

    Raises:
        InvalidArgumentError: they are not; names `field`.
    """
    needed = math.prod(shape) * SIZES[datatype]
    if given != needed:
        raise InvalidArgumentError(field, f"has {given} bytes where {datatype} {list(shape)} needs {needed}")


def split(data: bytes, count: int, field: str) -> tuple[bytes, ...]:
    """The elements of a tensor of BYTES in raw contents.

    Args:
        data: each element after its length, an unsigned little-endian integer of 4 bytes.
        count: how many the shape says there are.
        field: for the error.

    Raises:
        InvalidArgumentError: lengths and bytes do not agree, or there are more or fewer elements.
    """
    items: list[bytes] = []
    at = 0
    while at < len(data):
        if len(items) == count:
            raise InvalidArgumentError(field, f"has {len(data) - at} more bytes than its {count} element(s)")
        if len(data) - at < 4:
            raise InvalidArgumentError(field, f"ends within the length of element {len(items)}, which takes 4 bytes")
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if length > len(data) - at:
            raise InvalidArgumentError(
                field, f"says that element {len(items)} has {length} bytes, and {len(data) - at} are left"
            )
        items.append(data[at : at + length])
        at += length
    if len(items) != count:
        raise InvalidArgumentError(field, f"holds {len(items)} element(s) where its shape says {count}")
    return tuple(items)


def join(items: Iterable[bytes]) -> bytes:
    """Raw contents of a tensor of BYTES."""
    return b"".join(part for item in items for part in (struct.pack("<I", len(item)), item))
