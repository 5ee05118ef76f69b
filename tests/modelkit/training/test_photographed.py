"""Faces of photographs that a teacher labels."""

import numpy as np
import pytest

from modelkit.data.photos import Photo
from modelkit.training.photographed import photographed
from tests.modelkit.pictures import png

pytestmark = pytest.mark.toolchain


def test_large_faces_without_a_mask_are_cut_grey_and_stay_unlabelled() -> None:
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[10:60, 20:70] = (255, 0, 0)
    boxes = np.array([[20, 10, 70, 60], [80, 10, 130, 60], [0, 90, 20, 110]], np.float32)
    masked = Photo("m", png(pixels), boxes[:1], np.array([False]))
    faces = photographed([Photo("a", png(pixels), boxes, np.array([True, True, True])), masked])
    assert faces.names == ("a-0", "a-1")
    assert faces.images.shape == (2, 48, 48)
    assert (faces.images[0, 24, 24], faces.images[1, 24, 24]) == (76, 0)
    assert faces.labels.tolist() == [-1, -1]
    assert faces.votes is not None
    assert not faces.votes.any()


def test_photos_without_such_faces_give_nothing() -> None:
    assert len(photographed([])) == 0
