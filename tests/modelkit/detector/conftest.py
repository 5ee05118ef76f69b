"""A few made-up photos and crops to draw batches from."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from modelkit.data.photos import Photo
    from modelkit.detector.material import Material

# Without the toolchain's packages these files cannot even be imported.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]


def _photo(name: str, boxes: list[list[float]], rng: np.random.Generator) -> Photo:
    from modelkit.data.photos import Photo

    packed = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)).save(packed, "JPEG")
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Photo(name, packed.getvalue(), corners, np.ones(len(corners), bool))


@pytest.fixture
def material() -> Material:
    from modelkit.detector.material import Material, unknown

    rng = np.random.default_rng(0)
    photos = [
        _photo("two", [[20, 20, 60, 70], [90, 30, 130, 80]], rng),
        _photo("one", [[40, 30, 90, 95]], rng),
        _photo("none", [], rng),
    ]
    crops = rng.integers(0, 256, (10, 48, 48), dtype=np.uint8)
    return Material(photos, [unknown(photo) for photo in photos], crops, np.arange(10) % 7)
