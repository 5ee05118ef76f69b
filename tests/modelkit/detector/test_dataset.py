"""Batches are reproducible, and their boxes lie where the faces are."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from modelkit.detector.dataset import Sampler, cover, hide, turn, window
from modelkit.detector.material import Material

pytestmark = pytest.mark.toolchain


def test_the_same_step_gives_the_same_batch_and_another_step_another(material: Material) -> None:
    first, again, other = Sampler(material, 5).batch(3), Sampler(material, 5).batch(3), Sampler(material, 5).batch(4)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.expressions, again.expressions)
    assert first.images.shape != other.images.shape or not np.array_equal(first.images, other.images)


def test_boxes_lie_inside_and_belong_to_an_image_in_order(material: Material) -> None:
    sampler = Sampler(material, 1)
    for step in range(6):
        batch = sampler.batch(step)
        count, side = batch.images.shape[:2]
        assert len(batch.boxes) == len(batch.expressions) == len(batch.index) > 0
        assert (np.diff(batch.index) >= 0).all()
        assert batch.index.max() < count
        assert (batch.boxes >= 0).all()
        assert (batch.boxes <= side).all()
        assert (batch.boxes[:, 2:] > batch.boxes[:, :2]).all()
        assert np.allclose(batch.expressions.sum(1), 1, atol=1e-5)


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


def test_a_crops_expression_is_its_label_softened_by_what_the_classifiers_say(material: Material) -> None:
    taught = np.full((len(material.crops), 7), 1 / 7, np.float32)
    plain, softened = Sampler(material, 2).batch(0), Sampler(replace(material, taught=taught), 2).batch(0)
    known = plain.expressions.max(1) > 0.5
    assert known.any()
    assert np.allclose(plain.expressions[known].max(1), 0.95)
    assert np.allclose(softened.expressions[known].max(1), 0.5 * 0.95 + 0.5 / 7)


def test_what_the_crowd_saw_goes_before_a_crops_label(material: Material) -> None:
    crowd = np.zeros((len(material.crops), 7), np.float32)
    crowd[:, 3] = 0.6  # the others saw none of the seven
    batch = Sampler(replace(material, crowd=crowd), 2).batch(0)
    learnt = batch.expressions[batch.expressions[:, 3] > 0.5]
    assert len(learnt)
    happy, label = 0.6 + 0.4 * 0.05 / 6, 0.4 * 0.95
    for row in learnt:
        assert np.allclose(np.sort(row)[-2:], [label, happy]) or np.isclose(row.max(), 0.6 + label)


def test_turning_moves_boxes_with_the_pixels() -> None:
    rows, columns = np.mgrid[:200, :200]
    disc = ((columns - 120) / 30) ** 2 + ((rows - 60) / 40) ** 2 < 1
    picture = np.where(disc[..., None], 255, 0).repeat(3, 2).astype(np.uint8)
    for degrees in (-35.0, 20.0, 90.0):
        canvas, boxes, kept = turn(picture, np.array([[90, 20, 150, 100]], np.float32), degrees)
        white = np.argwhere(canvas.min(2) > 200)
        (top, left), (bottom, right) = white.min(0), white.max(0) + 1
        assert kept.tolist() == [0]
        assert np.allclose(boxes[0], [left, top, right, bottom], atol=2)
    assert not len(turn(picture, np.array([[0, 0, 8, 8]], np.float32), 45.0)[2])


def test_an_unclear_place_is_covered_whole() -> None:
    rng = np.random.default_rng(3)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:30, 40:64] = 255
    for _ in range(20):
        covered = picture.copy()
        cover(covered, np.array([39.5, 20.2, 64, 30], np.float32), rng)
        assert (covered[20:30, 39:64] == 0).mean() > 0.2 or (covered == picture).all()
        assert (covered[:20] == picture[:20]).all()
        assert (covered[30:] == picture[30:]).all()


def test_a_face_is_never_hidden_beyond_its_box() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        left, top = rng.integers(0, 40, 2)
        box = np.array([left, top, left + 20, top + 24], np.float32)
        hidden = picture.copy()
        hide(hidden, box, rng)
        changed = np.argwhere((hidden != picture).any(2))
        assert len(changed) < 0.4 * 20 * 24
        assert (changed >= (top, left)).all()
        assert (changed < (top + 24, left + 20)).all()
