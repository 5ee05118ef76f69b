"""Sizes as people read them."""

from __future__ import annotations

import pytest

from serving.units import size_text, sizes_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (10 << 20, "10 MiB"), (3 << 30, "3 GiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_two_sizes_that_differ_can_be_told_apart() -> None:
    assert sizes_text((10 << 20) + 1, 10 << 20) == ("10,485,761 bytes", "10,485,760 bytes")
    assert sizes_text(12 << 20, 10 << 20) == ("12 MiB", "10 MiB")
