"""Crops land where they should, and nothing else changes."""

import numpy as np
import pytest

from modelkit.data.framing import box_of_crop, crop_of_box
from modelkit.detector.composites import ellipse, paste_face, replace_face

pytestmark = pytest.mark.toolchain

CROP = np.random.default_rng(1).integers(0, 256, (48, 48), dtype=np.uint8)


def test_a_pasted_face_changes_its_square_only_and_gets_the_box_of_its_framing() -> None:
    for seed in range(8):
        canvas = np.full((100, 120, 3), 90, np.uint8)
        box = paste_face(canvas, (30, 20, 40), CROP, np.random.default_rng(seed))
        changed = np.argwhere((canvas != 90).any(2))
        assert changed.min(0).tolist() >= [20, 30]
        assert changed.max(0).tolist() <= [60, 70]
        assert len(changed) > 600
        assert np.allclose(box, box_of_crop(30, 20, 40))


@pytest.mark.parametrize("corner", [(-10, -10), (95, 70), (-39, 50)])
def test_a_face_may_hang_over_the_edge(corner: tuple[int, int]) -> None:
    canvas = np.full((100, 120, 3), 90, np.uint8)
    paste_face(canvas, (*corner, 40), CROP, np.random.default_rng(0))
    assert (canvas != 90).any()


def test_a_face_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        paste_face(np.zeros((100, 120, 3), np.uint8), (200, 0, 40), CROP, np.random.default_rng(0))


def test_a_replaced_face_blends_in_and_leaves_the_rest() -> None:
    rng = np.random.default_rng(3)
    canvas = np.clip(rng.normal((180, 130, 100), 20, (200, 200, 3)), 0, 255).astype(np.uint8)
    before = canvas.copy()
    box = np.array([60, 50, 142, 150], np.float32)
    replace_face(canvas, box, CROP, rng)
    left, top, side = (round(v) for v in crop_of_box(box))
    outside = np.ones((200, 200), bool)
    outside[top : top + side, left : left + side] = False
    assert np.array_equal(canvas[outside], before[outside])
    assert (canvas[90:110, 90:110] != before[90:110, 90:110]).mean() > 0.9
    red, _, blue = canvas[80:120, 80:120].reshape(-1, 3).mean(0)
    assert red > blue, "skin stays skin-coloured"


def test_the_mask_is_soft_full_in_the_middle_and_empty_in_the_corners() -> None:
    mask = ellipse(50)[..., 0]
    assert mask[25, 25] == 1
    assert mask[0, 0] == mask[-1, -1] == 0
    assert ((mask > 0) & (mask < 1)).any()
