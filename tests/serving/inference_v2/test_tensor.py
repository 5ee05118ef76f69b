"""Elements of BYTES and their lengths."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidArgumentError
from serving.inference_v2.tensor import SIZES, TensorSpec, check_size, elements, join, split


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5).map(tuple))
def test_elements_come_back_as_they_went(items: tuple[bytes, ...]) -> None:
    assert split(join(items), len(items), "x") == items


@pytest.mark.parametrize(
    ("data", "count", "said"),
    [
        (b"", 1, "holds 0 element"),
        (b"\x01", 1, "ends within the length of element 0"),
        (struct.pack("<I", 5) + b"four", 1, "says that element 0 has 5 bytes, and 4 are left"),
        (struct.pack("<I", 0xFFFFFFFF) + b"x", 1, "has 4294967295 bytes, and 1 are left"),
        (join([b"a"]) + b"\x00\x00", 1, "2 more bytes than its 1 element"),
        (join([b"a", b"b"]), 1, "5 more bytes"),
        (join([b"a"]), 2, "holds 1 element"),
        (join([b"a"]) + b"\x00", 2, "ends within the length of element 1"),
    ],
)
def test_lengths_that_lie_are_told(data: bytes, count: int, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as raised:
        split(data, count, "raw_input_contents[0]")
    assert raised.value.field == "raw_input_contents[0]"


@given(st.binary(max_size=64), st.integers(1, 4))
def test_any_bytes_are_elements_or_an_error(data: bytes, count: int) -> None:
    with suppress(InvalidArgumentError):
        assert join(split(data, count, "x")) == data


@pytest.mark.parametrize("shape", [[], [0], [2, -1], [1] * 9, [1] * 100_000])
def test_shapes_of_no_tensor(shape: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match="1 to 8 axes"):
        elements(shape, "shape")


def test_a_huge_shape_is_compared_and_never_allocated() -> None:
    with pytest.raises(InvalidArgumentError, match="needs 340282366920938463389587631136930004996"):
        check_size(16, "UINT8", [2**63 - 1, 2**63 - 1, 4], "raw_input_contents[0]")


def test_sizes_are_those_of_the_types() -> None:
    assert all(f"{8 * size}" in name or (name, size) == ("BOOL", 1) for name, size in SIZES.items())


def test_a_free_axis_takes_any_size() -> None:
    spec = TensorSpec("x", "FP32", (-1, 3))
    assert spec.fits([1, 3])
    assert spec.fits([100, 3])
    assert not spec.fits([1, 4])
    assert not spec.fits([3])
