"""Batches are reproducible, and their boxes lie where the faces are."""

import numpy as np
import pytest
from PIL import Image

from modelkit.detector.dataset import Sampler, draw_classes, window
from modelkit.detector.material import Material

pytestmark = pytest.mark.toolchain


def test_the_same_step_gives_the_same_batch_and_another_step_another(material: Material) -> None:
    first, again, other = Sampler(material, 5).batch(3), Sampler(material, 5).batch(3), Sampler(material, 5).batch(4)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.classes, again.classes)
    assert first.images.shape != other.images.shape or not np.array_equal(first.images, other.images)


def test_boxes_lie_inside_and_belong_to_an_image_in_order(material: Material) -> None:
    sampler = Sampler(material, 1)
    for step in range(6):
        batch = sampler.batch(step)
        count, side = batch.images.shape[:2]
        assert len(batch.boxes) == len(batch.classes) == len(batch.index) > 0
        assert (np.diff(batch.index) >= 0).all()
        assert batch.index.max() < count
        assert (batch.boxes >= 0).all()
        assert (batch.boxes <= side).all()
        assert (batch.boxes[:, 2:] > batch.boxes[:, :2]).all()
        assert set(batch.classes) <= set(range(7))


def test_a_window_moves_boxes_with_the_pixels() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[100:180, 150:215] = 255
    box = np.array([[150, 100, 215, 180]], np.float32)
    for seed in range(40):
        canvas, boxes, kept = window(Image.fromarray(picture), box, 256, box[0], np.random.default_rng(seed))
        white = np.argwhere(canvas[..., 0] > 200)
        if len(kept):
            (top, left), (bottom, right) = white.min(0), white.max(0) + 1
            assert np.allclose(boxes[0], [left, top, right, bottom], atol=2)
        else:
            assert len(white) < 0.5 * 80 * 65 * 1.6**2


@pytest.mark.parametrize("size", [(640, 60), (60, 640), (9, 9)])
def test_any_photo_shape_gives_a_full_canvas(size: tuple[int, int]) -> None:
    for seed in range(10):
        canvas, boxes, _ = window(
            Image.new("RGB", size), np.empty((0, 4), np.float32), 320, None, np.random.default_rng(seed)
        )
        assert canvas.shape == (320, 320, 3)
        assert boxes.shape == (0, 4)


def test_classes_follow_the_soft_labels() -> None:
    soft = np.tile(np.array([[0.5, 0, 0, 0.25, 0, 0, 0.25]], np.float32), (4000, 1))
    drawn = np.bincount(draw_classes(soft, np.random.default_rng(0)), minlength=7) / 4000
    assert np.allclose(drawn, soft[0], atol=0.03)
