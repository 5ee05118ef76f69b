"""Crops by hand: the right pixels at the right size, also where the box leaves the image."""

from __future__ import annotations

import resource

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.images.crop import crop_square, cut_crops


def box(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def boxes(*rows: tuple[float, float, float, float]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def checkered(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("given", "margin", "expected"),
    [
        (box(10, 20, 30, 40), 0, (10, 20, 30, 40)),
        (box(10, 20, 30, 60), 0, (0, 20, 40, 60)),  # the longer side decides
        (box(10, 20, 50, 40), 0, (10, 10, 50, 50)),
        (box(10, 20, 30, 40), 0.5, (0, 10, 40, 50)),
        (box(10, 20, 30, 40), -0.25, (15, 25, 25, 35)),
        (box(5, 5, 5, 5), 0, (4.5, 4.5, 5.5, 5.5)),  # an empty box is taken as one pixel
    ],
)
def test_the_square_around_a_box(given: npt.NDArray[np.float32], margin: float, expected: tuple[float, ...]) -> None:
    assert crop_square(given, margin) == expected


def test_a_crop_at_its_own_size_is_cut_out_pixel_for_pixel() -> None:
    image = checkered(60, 80)
    (crop,) = cut_crops(image, boxes((10, 20, 42, 52)), 32, 0)
    np.testing.assert_array_equal(crop, image[20:52, 10:42])


def test_the_whole_image_at_its_own_size_is_itself() -> None:
    image = checkered(32, 32)
    np.testing.assert_array_equal(cut_crops(image, boxes((0, 0, 32, 32)), 32, 0)[0], image)


def test_scaling_is_bilinear_and_sees_beyond_the_edge_of_the_crop() -> None:
    image = checkered(64, 64)
    (crop,) = cut_crops(image, boxes((8, 8, 40, 40)), 16, 0)
    expected = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR, box=(8, 8, 40, 40))
    assert np.abs(crop.astype(int) - np.asarray(expected).astype(int)).max() <= 32
    np.testing.assert_allclose(crop[2:-2, 2:-2], np.asarray(expected)[2:-2, 2:-2], atol=1)


def test_what_lies_outside_repeats_the_edge() -> None:
    image = checkered(20, 20)
    (crop,) = cut_crops(image, boxes((-10, -10, 10, 10)), 20, 0)
    np.testing.assert_array_equal(crop[10:, 10:], image[:10, :10])
    np.testing.assert_array_equal(crop[:10, 10:], np.broadcast_to(image[0, :10], (10, 10, 3)))
    np.testing.assert_array_equal(crop[10:, :10], np.broadcast_to(image[:10, :1], (10, 10, 3)))
    np.testing.assert_array_equal(crop[:10, :10], np.broadcast_to(image[0, 0], (10, 10, 3)))
    (crop,) = cut_crops(image, boxes((10, 10, 30, 30)), 20, 0)
    np.testing.assert_array_equal(crop[:10, :10], image[10:, 10:])
    np.testing.assert_array_equal(crop[10:, 10:], np.broadcast_to(image[-1, -1], (10, 10, 3)))


@pytest.mark.parametrize("away", [(100, 100, 120, 120), (-50, 0, -30, 20), (0, -1e6, 20, -1e6 + 20)])
def test_a_box_altogether_outside_is_black(away: tuple[float, float, float, float]) -> None:
    assert not cut_crops(checkered(20, 20), boxes(away), 16, 0).any()


def test_a_thin_face_at_the_corner() -> None:
    crops = cut_crops(checkered(20, 20), boxes((19, 0, 20, 20), (0, 19, 20, 20), (19.5, 19.5, 20, 20)), 16, 0.3)
    assert crops.shape == (3, 16, 16, 3)


def test_no_boxes_give_no_crops() -> None:
    assert cut_crops(checkered(8, 8), boxes(), 16, 0).shape == (0, 16, 16, 3)


def test_a_constant_image_gives_constant_crops_wherever_the_box_lies() -> None:
    image = np.full((37, 53, 3), 77, np.uint8)
    generator = np.random.default_rng(1)
    corners = generator.uniform(-60, 90, (40, 2))
    sides = generator.uniform(0.1, 200, (40, 2))
    for crop in cut_crops(image, np.concatenate([corners, corners + sides], axis=1).astype(np.float32), 24, 0.2):
        assert set(np.unique(crop)) <= {0, 77}
        assert crop.min() == crop.max()


@pytest.mark.parametrize("side", [1e4, 1e6, 1e9])
def test_a_huge_square_needs_little_memory(side: float) -> None:
    image = checkered(500, 500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    crops = cut_crops(image, boxes((0, 0, side, side), (-side, -side, side, side)), 64, 1)
    assert crops.shape == (2, 64, 64, 3)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100


def test_shrinking_a_large_face_keeps_its_look() -> None:
    """The whole-factor shrink on the way must not show."""
    y, x = np.mgrid[0:2000, 0:2000]
    image = np.stack([x * 255 / 1999, y * 255 / 1999, (x + y) * 255 / 3998], axis=2).astype(np.uint8)
    (crop,) = cut_crops(image, boxes((100, 100, 1900, 1900)), 48, 0)
    expected = Image.fromarray(image).resize((48, 48), Image.Resampling.BOX, box=(100, 100, 1900, 1900))
    assert np.abs(crop.astype(int) - np.asarray(expected).astype(int)).max() <= 4


def test_the_order_of_boxes_is_kept() -> None:
    image = checkered(40, 40)
    two = cut_crops(image, boxes((0, 0, 16, 16), (20, 20, 36, 36)), 16, 0)
    np.testing.assert_array_equal(two[0], image[:16, :16])
    np.testing.assert_array_equal(two[1], image[20:36, 20:36])
