from __future__ import annotations

import numpy as np
import pytest

from services.classifier.views import VIEWS, View, make_views, mean_over_views


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 40, 3), np.uint8)


def test_same_crops_give_the_same_bytes(crops: np.ndarray) -> None:
    assert make_views(crops).tobytes() == make_views(crops.copy()).tobytes()


def test_five_views_with_the_crop_itself_first(crops: np.ndarray) -> None:
    views = make_views(crops)
    assert views.shape == (5, 3, 48, 40, 3)
    assert views.dtype == np.uint8
    assert (views[0] == crops).all()
    assert (views[1] == crops[:, :, ::-1]).all()


def test_crop_does_not_depend_on_its_neighbours(crops: np.ndarray) -> None:
    assert (make_views(crops)[:, 1] == make_views(crops[1:2])[:, 0]).all()


def test_rotation_turns_counter_clockwise_and_repeats_the_edge() -> None:
    crop = np.full((1, 48, 48, 3), 50, np.uint8)
    crop[:, :, :24] = 200
    turned = make_views(crop, (View(degrees=8),))[0, 0, :, :, 0]
    # Counter-clockwise, a vertical border leans left at the top.
    assert (turned[2] > 125).sum() < (turned[45] > 125).sum()
    assert set(np.unique(turned[[0, 0, -1, -1], [0, -1, 0, -1]])) <= {50, 200}


def test_brightness_is_clipped() -> None:
    crop = np.array([0, 100, 240], np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=3)
    assert make_views(crop, (View(gain=1.15),))[0, 0, 0, :, 0].tolist() == [0, 115, 255]


def test_mean_goes_back_to_crops() -> None:
    shares = np.arange(len(VIEWS) * 2 * 7, dtype=np.float32).reshape(-1, 7)
    mean = mean_over_views(shares, 2)
    assert mean.dtype == np.float32
    assert mean[1].tolist() == shares[1::2].mean(axis=0).tolist()


def test_one_view_stays_as_it_is() -> None:
    shares = np.random.default_rng(0).random((4, 7), np.float32)
    assert mean_over_views(shares, 4).tobytes() == shares.tobytes()
