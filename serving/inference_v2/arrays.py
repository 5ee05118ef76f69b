"""Between tensors of the protocol and NumPy's arrays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.inference_v2.tensor import Tensor

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype("<i4"),
    "FP32": np.dtype("<f4"),
}
"""Those that models of Ferry's take and answer."""
_DATATYPES: Final = {dtype: name for name, dtype in _DTYPES.items()}


def to_array(tensor: Tensor) -> npt.NDArray[Any]:
    """A read-only array that shares the tensor's bytes; KeyError: of its type there is none."""
    return np.frombuffer(tensor.data, _DTYPES[tensor.datatype]).reshape(tensor.shape)


def from_array(name: str, array: npt.NDArray[Any]) -> Tensor:
    """The tensor `name` with the values of `array`, which is uint8, int32 or float32."""
    return Tensor(name, _DATATYPES[array.dtype], array.shape, np.ascontiguousarray(array).tobytes())
