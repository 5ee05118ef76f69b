"""Between the contract's Tensor and NumPy, checked on the way in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ferry.v1 import types_pb2
from serving.errors import InvalidArgumentError

MAX_AXES = 4
MAX_AXIS = 65_536
_DTYPES: dict[int, np.dtype[Any]] = {
    types_pb2.DATA_TYPE_UINT8: np.dtype(np.uint8),
    types_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}
_TYPES = {np.dtype(np.uint8): types_pb2.DATA_TYPE_UINT8, np.dtype("<f4"): types_pb2.DATA_TYPE_FLOAT32}


def to_tensor(array: npt.NDArray[Any]) -> types_pb2.Tensor:
    """`array` (uint8 or float32) as a message."""
    data_type = _TYPES[array.dtype]
    return types_pb2.Tensor(data_type=data_type, shape=array.shape, data=np.ascontiguousarray(array).tobytes())


def from_tensor(tensor: types_pb2.Tensor, field: str) -> npt.NDArray[Any]:
    """The message as a read-only array that shares its bytes.

    Raises:
        InvalidArgumentError: type, axes or length do not fit; names `field`.
    """
    dtype = _DTYPES.get(tensor.data_type)
    if dtype is None:
        raise InvalidArgumentError(f"{field}.data_type", "must be UINT8 or FLOAT32")
    shape = tuple(tensor.shape)
    if not 1 <= len(shape) <= MAX_AXES or any(axis > MAX_AXIS for axis in shape):
        raise InvalidArgumentError(f"{field}.shape", f"must have 1 to {MAX_AXES} axes of at most {MAX_AXIS}")
    count = 1
    for axis in shape:
        count *= axis
    if count * dtype.itemsize != len(tensor.data):
        raise InvalidArgumentError(
            f"{field}.data", f"has {len(tensor.data)} bytes where shape {list(shape)} needs {count * dtype.itemsize}"
        )
    return np.frombuffer(tensor.data, dtype).reshape(shape)
