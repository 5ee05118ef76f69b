"""Letterboxing keeps proportions, and boxes find their way back."""

import numpy as np
import pytest

from services.detector.letterbox import PAD_VALUE, letterbox


def test_a_wide_image_is_centred_between_grey_bars() -> None:
    image = np.full((100, 200, 3), 7, np.uint8)
    frame, geometry = letterbox(image, 64, 64)
    assert frame.shape == (64, 64, 3)
    assert (geometry.scale_x, geometry.scale_y, geometry.pad_x, geometry.pad_y) == (0.32, 0.32, 0, 16)
    assert (frame[:16] == PAD_VALUE).all()
    assert (frame[16:48] == 7).all()
    assert (frame[48:] == PAD_VALUE).all()


def test_an_image_of_the_frames_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame, geometry = letterbox(image, 64, 48)
    assert np.array_equal(frame, image)
    assert np.array_equal(geometry.to_image(np.array([[1, 2, 3, 4]], np.float32)), [[1, 2, 3, 4]])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (3, 640), (479, 641), (1080, 1920)])
def test_any_shape_fits_and_its_corners_come_back(height: int, width: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    frame, g = letterbox(image, 640, 640)
    inner = np.argwhere((frame != PAD_VALUE).any(axis=2))
    (top, left), (bottom, right) = inner.min(0), inner.max(0) + 1
    assert np.array_equal(g.to_image(np.array([[left, top, right, bottom]], np.float32)), [[0, 0, width, height]])


def test_boxes_come_back_in_image_pixels_clipped_to_the_image() -> None:
    _, geometry = letterbox(np.zeros((100, 200, 3), np.uint8), 64, 64)
    boxes = np.array([[32, 32, 48, 48], [-50, -50, 500, 500], [0, 0, 10, 8]], np.float32)
    assert np.allclose(geometry.to_image(boxes), [[100, 50, 150, 100], [0, 0, 200, 100], [0, 0, 31.25, 0]])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        letterbox(image, 64, 64)
