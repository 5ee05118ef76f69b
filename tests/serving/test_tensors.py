"""Arrays survive the wire, and a tensor that lies about itself is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferry.v1 import types_pb2
from serving.errors import InvalidArgumentError
from serving.tensors import from_tensor, to_tensor

U8, F32 = types_pb2.DATA_TYPE_UINT8, types_pb2.DATA_TYPE_FLOAT32


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.linspace(-1, 1, 14, dtype=np.float32).reshape(2, 7),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.arange(12, dtype=np.uint8).reshape(3, 4).T,
    ],
    ids=["pixels", "scores", "none", "not contiguous"],
)
def test_round_trip(array: Any) -> None:
    np.testing.assert_array_equal(from_tensor(to_tensor(array), "x"), array)


@pytest.mark.parametrize(
    ("tensor", "field"),
    [
        (types_pb2.Tensor(), "x.data_type"),
        (types_pb2.Tensor(data_type=99, shape=[1], data=b"a"), "x.data_type"),  # type: ignore[arg-type]
        (types_pb2.Tensor(data_type=U8), "x.shape"),
        (types_pb2.Tensor(data_type=U8, shape=[1] * 5, data=b"a"), "x.shape"),
        (types_pb2.Tensor(data_type=U8, shape=[65_537], data=bytes(65_537)), "x.shape"),
        (types_pb2.Tensor(data_type=U8, shape=[65_536] * 4, data=b"a"), "x.data"),
        (types_pb2.Tensor(data_type=U8, shape=[2, 2], data=b"abc"), "x.data"),
        (types_pb2.Tensor(data_type=U8, shape=[2, 2], data=b"abcde"), "x.data"),
        (types_pb2.Tensor(data_type=F32, shape=[2], data=b"abcd"), "x.data"),
        (types_pb2.Tensor(data_type=U8, shape=[0, 3], data=b"a"), "x.data"),
    ],
)
def test_a_tensor_that_lies_is_refused(tensor: types_pb2.Tensor, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        from_tensor(tensor, "x")
    assert caught.value.field == field
