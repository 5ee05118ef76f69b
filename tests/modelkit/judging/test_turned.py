"""How far a head is turned, by YuNet's landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelkit.detector.yunet import STRIDES, YuNet
from modelkit.judging import turned
from modelkit.judging.turned import by_turn, turns

pytestmark = pytest.mark.toolchain

Points = npt.NDArray[np.float32]


def head(nose: float, slope: float = 0.0) -> Points:
    """Eyes 20 pixels apart around x = 50, the nose's tip so many pixels from their middle, all on a slope."""
    places = np.array([[40, 50], [60, 50], [50 + nose, 62], [44, 70], [56, 70]], np.float32)
    about = places - np.float32(50)
    cos, sin = np.cos(slope), np.sin(slope)
    return (about @ np.array([[cos, sin], [-sin, cos]]) + 50).astype(np.float32)


def test_heads_are_told_apart_by_where_the_nose_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([head(0), head(-4), head(10), head(10, slope=0.5), None])

    class Seeker:
        def __init__(self, file: Path, threads: int) -> None: ...

        def landmarks(self, image: npt.NDArray[np.uint8], least: float) -> Points | None:
            assert image.shape == (160, 160, 3)
            return next(told)

    monkeypatch.setattr(turned, "YuNet", Seeker)
    crops = [np.zeros((48, 48, 3), np.uint8)] * 5
    found = turns(crops, Path("yunet.onnx"))
    np.testing.assert_allclose(found, [0, 0.2, 0.5, 0.5, np.nan], atol=1e-5)
    groups = {name: mask.nonzero()[0].tolist() for name, mask in by_turn(found).items()}
    assert groups == {"facing": [0], "half turned": [1], "turned": [2, 3], "not measured": [4]}


def test_the_surest_cells_points_are_those_of_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {8: 64, 16: 16, 32: 4}
    answers = {
        f"{kind}_{stride}": np.zeros((1, cells[stride], width), np.float32)
        for stride in STRIDES
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    }
    answers["cls_16"][0, 6], answers["obj_16"][0, 6] = 0.9, 0.9  # second row, third column
    answers["kps_16"][0, 6] = [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1]
    seeker = object.__new__(YuNet)
    monkeypatch.setattr(seeker, "_run", lambda image: (answers, 64))
    image = np.zeros((64, 64, 3), np.uint8)
    found = seeker.landmarks(image, 0.5)
    assert found is not None
    assert found.tolist() == [[32, 16], [48, 16], [40, 24], [32, 32], [48, 32]]
    assert seeker.landmarks(image, 0.95) is None
