"""Answers after a first look are compared with those after a close one, on pictures whose face is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from modelkit.data.photos import Photo
from modelkit.judging import first_looks
from modelkit.judging.detection import Detector, match_coarsely
from modelkit.judging.first_looks import judge_first_looks
from modelkit.judging.harder import HarderCrops
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.repository.manifest import Encoding, Manifest
from tests.serving.images.files import encode
from tests.tiny_models import FACE, bytes_graph, detector_graph, detector_manifest, publish


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Sure of one face wherever it is bright, of half of the frame's size in the first look."""
    spec = detector_manifest().input.model_copy(update={"encoding": Encoding.BYTES, "sides": (32, 48)})
    directory = publish(
        tmp_path, detector_manifest(input=spec), bytes_graph(detector_graph(), (0,) * 3, (1,) * 3, free=True)
    )
    numbers = {"scale": 0.5, "unsure": 0.3, "sure": 0.8, "least_face": 10}
    text = json.dumps({"digest": Manifest.read(directory).digest, **numbers})
    (directory / "coarse.json").write_text(text)
    return Detector.load(directory)


def photo(grey: int, boxes: Sequence[Sequence[float]] = (), side: int = 64) -> Photo:
    image = encode(Image.new("RGB", (side, side), (grey,) * 3), "PNG")
    return Photo(f"{grey}", image, np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), bool))


def happy(crops: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    return np.eye(7, dtype=np.float32)[[3] * len(crops)]


def test_both_ways_are_judged_on_the_same_faces(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The face is put where the first look alone finds it, half of its box being in the other one's: IoU 1 and 0.2."""
    monkeypatch.setattr(first_looks, "paste_face", lambda *_: np.array([32, 16, 64, 64], np.float32))
    crops = HarderCrops([np.full((48, 48, 3), 250, np.uint8)] * 4, np.array([3, 3, 3, 0]))
    photos = [photo(250), photo(250, [FACE])]
    recipe = read_recipe(DEFAULT_RECIPE)
    told = judge_first_looks(detector, recipe, happy, photos=photos, crops=crops, count=4)
    assert (told["n"], told["clear"]) == (4, 1.0)
    assert (told["first"]["found"], told["first"]["iou"], told["first"]["accuracy"]) == (1.0, 1.0, 0.75)
    assert (told["closely"]["found"], told["closely"]["accuracy"]) == (0.0, 0.0)
    # The tiny model's first label, angry, is what the last crop shows.
    assert told["first"]["detector_accuracy"] == 0.25
    assert judge_first_looks(detector, recipe, happy, photos=photos[1:], crops=crops, count=4) == {}


def test_photos_that_are_clear_cost_less(detector: Detector) -> None:
    # In the first look the face of a bright photo is at (32, 16, 64, 64); an unclear one is looked at closely.
    clear, unclear = photo(250, [[32, 16, 64, 64]]), photo(180, [FACE])
    found, share, pixels = match_coarsely(detector, [clear, unclear], 0.6)
    assert (found.recall, found.precision) == (1, 1)
    assert share == 0.5
    assert pixels == pytest.approx((0.25 + 1.25) / 2)
