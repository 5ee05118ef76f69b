"""Which extra brings what is missing."""

from __future__ import annotations

import sys

import pytest

from cli.remedy import remedy


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("pyarrow.parquet", "ferry[evaluate]"),
        ("redis", "ferry[local]"),
        ("PIL", "ferry[local]"),
        ("yaml", "ferry[local]"),
        ("hdrh.histogram", "ferry[bench]"),
        ("torch", "ferry[toolchain]"),
        ("of_nobody", "ferry[toolchain]"),
        ("benchmarks", "checkout"),
    ],
)
def test_the_smallest_extra_is_named(module: str, says: str) -> None:
    assert says in remedy(module)


def test_it_goes_into_the_environment_of_the_ferry_that_runs() -> None:
    assert f"`{sys.executable} -m pip install 'ferry[evaluate]'`" in remedy("pyarrow")
