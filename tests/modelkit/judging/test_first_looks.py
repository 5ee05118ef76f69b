"""Answers after a first look are compared with those after a close one, on pictures whose face is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from modelkit.data.photos import Photo
from modelkit.judging.detection import Detector, match_coarsely
from modelkit.judging.first_looks import judge_first_looks
from modelkit.judging.harder import HarderCrops
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.repository.manifest import CoarseSpec, Encoding
from tests.serving.images.files import encode
from tests.tiny_models import FACE, bytes_graph, detector_graph, detector_manifest, publish


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Sure of one face wherever it is bright, of half of the frame's size in the first look."""
    spec = detector_manifest().input.model_copy(update={"encoding": Encoding.BYTES, "sides": (32, 48)})
    coarse = CoarseSpec(scale=0.5, unsure=0.3, sure=0.8, least_face=10)
    graph = bytes_graph(detector_graph(), (0,) * 3, (1,) * 3, free=True)
    return Detector.load(publish(tmp_path, detector_manifest(input=spec, coarse=coarse), graph))


def photo(grey: int, boxes: Sequence[Sequence[float]] = (), side: int = 64) -> Photo:
    image = encode(Image.new("RGB", (side, side), (grey,) * 3), "PNG")
    return Photo(f"{grey}", image, np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), bool))


def happy(crops: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    return np.eye(7, dtype=np.float32)[[3] * len(crops)]


def test_both_ways_are_judged_on_the_same_faces(detector: Detector) -> None:
    crops = HarderCrops([np.full((48, 48, 3), 250, np.uint8)] * 4, np.array([3, 3, 3, 0]))
    photos = [photo(250), photo(250, [FACE])]
    recipe = read_recipe(DEFAULT_RECIPE)
    told = judge_first_looks(detector, recipe, happy, photos=photos, crops=crops, count=4)
    assert told == judge_first_looks(detector, recipe, happy, photos=photos, crops=crops, count=4)
    assert (told["n"], told["clear"]) == (4, 1.0)
    for way in (told["closely"], told["first"]):
        assert way["accuracy"] <= way["found"]
    assert judge_first_looks(detector, recipe, happy, photos=photos[1:], crops=crops, count=4) == {}


def test_photos_that_are_clear_cost_less(detector: Detector) -> None:
    # In the first look the face of a bright photo is at (32, 16, 64, 64); an unclear one is looked at closely.
    clear, unclear = photo(250, [[32, 16, 64, 64]]), photo(180, [FACE])
    found, share, pixels = match_coarsely(detector, [clear, unclear], 0.6)
    assert (found.recall, found.precision) == (1, 1)
    assert share == 0.5
    assert pixels == pytest.approx((0.25 + 1.25) / 2)
