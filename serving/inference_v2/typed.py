"""Typed contents: values as numbers of the message, and not as raw bytes."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.errors import InvalidArgumentError
from serving.inference_v2.tensor import BYTES, Tensor

MAX_ELEMENTS: Final = 1 << 22
"""Of one tensor: each costs many times what it costs in raw contents."""
_FIELDS: Final = {
    "BOOL": ("bool_contents", "B"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
}
"""By datatype: the field of InferTensorContents, and the type code of `array`."""


def code(datatype: str) -> str | None:
    """How `array` calls a type; None: it has no such."""
    return _FIELDS[datatype][1] if datatype in _FIELDS else None


def filled(contents: pb.InferTensorContents) -> list[str]:
    """Names of the fields that hold values."""
    return [descriptor.name for descriptor, _ in contents.ListFields()]


def read(
    contents: pb.InferTensorContents, datatype: str, shape: Sequence[int], field: str
) -> tuple[bytes, tuple[bytes, ...]]:
    """Values as `Tensor` holds them: its data, and its items.

    Raises:
        InvalidArgumentError: there are more or fewer than `shape` says, in another field than that of `datatype`, or
            out of its range; names `field`.
    """
    if datatype != BYTES and datatype not in _FIELDS:
        raise InvalidArgumentError(field, f"{datatype} has no typed contents; send it in raw_input_contents")
    wanted, kind = ("bytes_contents", "") if datatype == BYTES else _FIELDS[datatype]
    wrong = [name for name in filled(contents) if name != wanted]
    if wrong:
        raise InvalidArgumentError(field, f"{datatype} belongs into {wanted}, not into {', '.join(wrong)}")
    values: Any = getattr(contents, wanted)
    count = math.prod(shape)
    if len(values) != count:
        raise InvalidArgumentError(f"{field}.{wanted}", f"holds {len(values)} value(s) where the shape says {count}")
    if count > MAX_ELEMENTS:
        raise InvalidArgumentError(
            f"{field}.{wanted}", f"holds {count} values, more than {MAX_ELEMENTS}; send them in raw_input_contents"
        )
    if datatype == BYTES:
        return b"", tuple(values)
    try:
        return little_endian(array(kind, values)).tobytes(), ()
    except OverflowError as error:
        raise InvalidArgumentError(f"{field}.{wanted}", f"holds a value that no {datatype} has") from error


def write(tensor: Tensor, contents: pb.InferTensorContents) -> None:
    """Puts the values of a tensor, of a type that has a field, into a message."""
    if tensor.datatype == BYTES:
        contents.bytes_contents.extend(tensor.items)
        return
    name, kind = _FIELDS[tensor.datatype]
    getattr(contents, name).extend(little_endian(array(kind, tensor.data)))


def little_endian(values: array[Any]) -> array[Any]:
    """Between this machine's order of bytes and the protocol's; changes `values` itself."""
    if sys.byteorder == "big":
        values.byteswap()
    return values
