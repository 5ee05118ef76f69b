"""A crop's square and the face box inside it belong together."""

import numpy as np
import pytest

from modelkit.data.framing import BOX_ASPECT, CROP_MARGIN, box_of_crop, crop_of_box

pytestmark = pytest.mark.toolchain


def test_the_square_of_a_tall_box_by_hand() -> None:
    left, top, side = crop_of_box(np.array([100, 200, 182, 300], np.float32))
    assert side == pytest.approx(112)
    assert left == pytest.approx(141 - 56)
    assert top == pytest.approx(250 - 56 - 4)


@pytest.mark.parametrize("height", [10.0, 48.0, 333.0])
def test_pasting_a_crop_gives_the_box_it_would_have_been_cut_from(height: float) -> None:
    box = np.array([50, 60, 50 + BOX_ASPECT * height, 60 + height], np.float32)
    assert np.allclose(box_of_crop(*crop_of_box(box)), box, atol=1e-3)


def test_the_margin_is_one_that_serving_accepts() -> None:
    assert -0.4 <= CROP_MARGIN <= 2.0
