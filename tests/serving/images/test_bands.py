"""Bands of any height make the same picture, whichever way it has to be turned."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from serving.images import bands
from tests.serving.images.files import photo


@pytest.mark.parametrize("pixels", [1, 48, 48 * 7, 48 * 32, 1 << 30])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_bands_fit_together(orientation: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND_PIXELS", pixels)
    image = Image.fromarray(photo())
    upright = bands.upright_rgb(image, orientation, np.asarray)
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))
    assert upright.flags.c_contiguous
