"""The list of faces that labels leave out."""

import json
from pathlib import Path

import numpy as np
import pytest

from modelkit.data.corrections import ADDITIONS, corrected
from modelkit.data.photos import Photo

pytestmark = pytest.mark.toolchain


def photo(name: str) -> Photo:
    return Photo(name, b"", np.array([[0, 0, 10, 10]], np.float32), np.array([True]))


def test_named_photos_gain_boxes_and_others_stay_as_they_are(tmp_path: Path) -> None:
    listed = tmp_path / "additions.json"
    listed.write_text(json.dumps({"a": {"faces": [[1, 2, 3, 4]], "unclear": [[5, 6, 7, 8], [9, 9, 12, 12]]}}))
    first, second = corrected([photo("a"), photo("b")], listed)
    assert first.boxes.tolist() == [[0, 0, 10, 10], [1, 2, 3, 4]]
    assert first.unmasked.tolist() == [True, False]
    assert first.unclear.shape == (2, 4)
    assert (second.boxes.shape, second.unclear.shape) == ((1, 4), (0, 4))


def test_the_list_holds_boxes_with_an_area() -> None:
    known = json.loads(ADDITIONS.read_text())
    boxes = np.array([box for kinds in known.values() for rows in kinds.values() for box in rows])
    assert len(boxes) > 100
    assert (boxes[:, 2:] - boxes[:, :2] >= 8).all()
    assert boxes.min() >= 0
