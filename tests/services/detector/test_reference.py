"""Letterbox, decode and suppression against Ultralytics' own."""

import numpy as np
import pytest

from services.detector.engine import find_faces
from services.detector.letterbox import letterbox
from serving.expressions import EXPRESSIONS

from .conftest import MakeManifest

pytestmark = pytest.mark.toolchain


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(427, 640), (640, 427), (480, 640), (111, 97), (1080, 1920)])
def test_the_letterbox_puts_the_image_where_ultralytics_does(height: int, width: int) -> None:
    from modelkit.shims.ultralytics import install

    install()
    from ultralytics.data.augment import LetterBox

    image = np.full((height, width, 3), 255, np.uint8)
    ours, _ = letterbox(image, 640, 640)
    theirs = LetterBox((640, 640), auto=False, scaleup=True)(image=image)
    assert ours.shape == theirs.shape
    difference = np.argwhere(np.abs(ours.astype(int) - theirs.astype(int)).max(axis=2) > 1)
    assert len(np.unique(difference[:, 0])) <= 1 or len(np.unique(difference[:, 1])) <= 1, "at most one row or column"


def test_faces_are_those_of_ultralytics_suppression(
    make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import torch

    from modelkit.shims.ultralytics import install

    install()
    from ultralytics.utils.nms import non_max_suppression

    # Without torchvision in sight Ultralytics uses its own suppression, whatever torchvision's build can do.
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    manifest = make_manifest()
    _, geometry = letterbox(np.zeros((64, 64, 3), np.uint8), 64, 64)
    rng = np.random.default_rng(4)
    for _ in range(20):
        centres = rng.uniform(10, 54, (12, 2)).repeat(15, axis=0) + rng.normal(0, 1.0, (180, 2))
        # Alike enough that a box in another one overlaps it by more than the threshold: theirs has no rule for nesting.
        sizes = rng.uniform(11, 14, (180, 2))
        classes = rng.uniform(0, 1, (180, len(EXPRESSIONS))) ** 6
        raw = np.concatenate([centres, sizes, classes], axis=1).T.astype(np.float32)
        theirs = non_max_suppression(torch.from_numpy(raw[None]), 0.25, 0.5, agnostic=True, max_det=64)[0].numpy()
        ours = find_faces(raw, geometry, manifest)
        assert len(ours) == len(theirs)
        assert np.allclose([face.score for face in ours], theirs[:, 4])
        assert np.allclose([face.box for face in ours], np.clip(theirs[:, :4], 0, 64), atol=1e-4)
        assert [face.probabilities.argmax() for face in ours if face.probabilities is not None] == theirs[:, 5].tolist()
