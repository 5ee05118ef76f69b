"""What decoding is said to cost is what the kernel sees it take, for every kind of picture there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.decoding.measure import measure
from benchmarks.decoding.pictures import KINDS, TURNED, every
from serving.errors import InvalidArgumentError
from serving.images.cost import check_cost, outline
from serving.images.jpeg_segments import coefficient_bytes
from tests.serving.images import files

WIDTH, HEIGHT = 1200, 900
SLACK = 2 << 20
"""Bytes that the process itself takes meanwhile: the interpreter's own, pages of libraries."""


def write(folder: Path, contents: list[bytes]) -> list[Path]:
    paths = [folder / str(number) for number in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.slow
def test_no_picture_takes_more_than_it_is_said_to(tmp_path: Path) -> None:
    pictures = [
        (name, turn, data) for name, turn, data in every(WIDTH, HEIGHT) if turn == 6 or not name.startswith(TURNED)
    ]
    readings = measure(write(tmp_path, [data for _, _, data in pictures]))
    low = []
    for (name, orientation, data), reading in zip(pictures, readings, strict=True):
        assert not reading.error, (name, reading.error)
        cost = outline(data).costs[1]
        if reading.peak > cost.peak + SLACK or reading.held > cost.held + SLACK:
            low.append((name, orientation, reading, cost))
    assert not low


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_jpeg_that_is_shrunk_while_it_is_decoded_takes_less(tmp_path: Path, reduction: int) -> None:
    pictures = [(name, make(WIDTH, HEIGHT, 6)) for name, make in KINDS.items() if name.startswith("JPEG")]
    readings = measure(write(tmp_path, [data for _, data in pictures]), reduction)
    for (name, data), reading in zip(pictures, readings, strict=True):
        costs = outline(data).costs
        assert reading.peak <= costs[reduction].peak + SLACK, name
        assert costs[reduction].peak < costs[1].peak


def test_a_tile_larger_than_its_picture_counts() -> None:
    small, large = (KINDS["TIFF deflate, tiles"](8, 8, 1), files.tiff(tags(tile=16_000), bytes(200)))
    assert outline(small).costs[1].peak < 9 << 20
    image = outline(large)
    assert image.costs[1].peak >= 16_000 * 16_000
    with pytest.raises(InvalidArgumentError, match=r"takes 2\d\d MiB to decode \(TIFF, 1 x 8 bit, 8 x 8 pixels\)"):
        check_cost(image, image.costs[1], 100 << 20)


def test_each_row_costs_something() -> None:
    assert outline(files.png_header(1, 30_000_000)).costs[1].peak > 30_000_000 * 15


def tags(tile: int) -> list[tuple[int, int, int, int]]:
    """Of a grey picture of 8 x 8 pixels in one deflated tile."""
    fields = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 8, 325: 100}
    return [(tag, 4, 1, value) for tag, value in fields.items()]


def test_coefficients_are_held_where_a_scan_has_not_all_components() -> None:
    whole = KINDS["JPEG 4:4:4"](64, 48, 1)
    assert coefficient_bytes(whole) == 0
    assert coefficient_bytes(KINDS["JPEG progressive 4:4:4"](64, 48, 1)) == 64 * 48 * 3 * 2
    assert coefficient_bytes(KINDS["JPEG progressive"](64, 48, 1)) == 64 * 48 * 3
    scan = whole.index(b"\xff\xda")
    alone = whole[: scan + 4] + b"\x01" + whole[scan + 5 :]
    assert coefficient_bytes(alone) == 64 * 48 * 3 * 2


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff" * 50, b"\xff\xd8\xff\xda"])
def test_what_is_no_jpeg_has_no_coefficients(data: bytes) -> None:
    assert coefficient_bytes(data) == 0
