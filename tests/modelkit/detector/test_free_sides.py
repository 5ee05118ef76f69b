"""An exported detector whose sides were freed answers as before, and in other shapes as the network does."""

from __future__ import annotations

import onnx
import pytest

from modelkit.detector.export import input_spec, shorter_sides
from modelkit.detector.free_sides import BakedError, free_sides
from serving.repository.manifest import Encoding
from tests.processes import ROOT
from tests.tiny_models import detector_graph


def test_a_graph_without_anchors_is_refused() -> None:
    with pytest.raises(BakedError, match="points of 64 x 64"):
        free_sides(onnx.load_from_string(detector_graph()), 64, 64)


def test_pictures_of_the_usual_proportions_have_frames_of_their_own() -> None:
    assert shorter_sides(512) == (288, 352, 384)
    assert shorter_sides(640) == (384, 448, 480)
    assert shorter_sides(32) == ()
    spec = input_spec(512)
    assert spec.encoding is Encoding.BYTES
    assert spec.frames[0] == (512, 512)
    assert {(512, 384), (384, 512), (512, 288)} < set(spec.frames)
    assert len(spec.frames) == 7


def test_the_published_detector_says_which_frames_it_takes() -> None:
    from serving.repository.manifest import Manifest

    manifest = Manifest.read(ROOT / "models" / "detector" / "1")
    assert manifest.input.row_shapes[0] == (512, 512, 3)
    assert (384, 512, 3) in manifest.input.row_shapes
