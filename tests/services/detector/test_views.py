"""Tiles cover the picture, overlap, and are never smaller than what the model sees."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.engine import find_faces_in_views, prepare_images
from services.detector.views import OVERLAP, useful_detail, windows

from .conftest import MakeManifest

SIZES = [(3000, 2000), (2000, 3000), (1000, 1000), (4000, 100), (513, 512)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("detail", [2, 3, 4])
def test_every_place_lies_in_a_tile_with_what_is_around_it(size: tuple[int, int], detail: int) -> None:
    whole, *tiles = windows(*size, detail)
    assert whole == (0, 0, *size)
    assert len(tiles) <= detail**2
    assert len({(x1, x2) for x1, _, x2, _ in tiles} | {(y1, y2) for _, y1, _, y2 in tiles}) >= detail
    side = max(x2 - x1 for x1, _, x2, _ in tiles)
    face = int(side * OVERLAP) - 2
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y = (int(rng.integers(0, max(length - face, 1))) for length in size)
        right, bottom = min(x + face, size[0]), min(y + face, size[1])
        assert any(x1 <= x and y1 <= y and right <= x2 and bottom <= y2 for x1, y1, x2, y2 in tiles)


def test_a_picture_that_the_model_sees_whole_is_not_cut() -> None:
    assert useful_detail(500, 300, 512, 4) == 1
    assert useful_detail(513, 300, 512, 4) == 2
    assert useful_detail(6000, 4000, 512, 3) == 3
    assert windows(500, 300, 1) == [(0, 0, 500, 300)]


def face(x: float, y: float, side: float, score: float) -> list[float]:
    return [x, y, side, side, 0, 0, 0, score, 0, 0, 0]


def test_a_face_seen_twice_counts_once_and_what_an_edge_cuts_does_not(make_manifest: MakeManifest) -> None:
    """Two tiles of 64 pixels side by side, 16 of them in both, beside the whole picture of 112 x 64."""
    pixels = np.zeros((64, 112, 3), np.uint8)
    places = [(0, 0, 112, 64), (0, 0, 64, 64), (48, 0, 112, 64)]
    manifest = make_manifest()
    rows, geometries = prepare_images([pixels[y1:y2, x1:x2] for x1, y1, x2, y2 in places], manifest)
    views = [g.within(112, 64, 1, x, y) for g, (x, y, _, _) in zip(geometries, places, strict=True)]
    raw = np.array(
        [
            [face(16, 32, 20, 0.5), face(0, 0, 1, 0), face(0, 0, 1, 0)],
            [face(56, 20, 10, 0.7), face(60, 50, 8, 0.9), face(10, 50, 6, 0.3)],
            [face(8, 20, 10, 0.8), face(0, 0, 1, 0), face(0, 0, 1, 0)],
        ],
        np.float32,
    ).transpose(0, 2, 1)
    assert len(rows) == 3
    found = find_faces_in_views(raw, views, manifest)
    assert [round(f.score, 2) for f in found] == [0.8, 0.5, 0.3]
    np.testing.assert_allclose(found[0].box, [51, 15, 61, 25], atol=1e-3)
    np.testing.assert_allclose(found[2].box, [7, 47, 13, 53], atol=1e-3)
