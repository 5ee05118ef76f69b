"""A JPEG that is shrunk while it is decoded gives the faces and the crops of the whole one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferry.v1 import detector_pb2_grpc
from services.detector.reduction import reduction_for_crops, reduction_for_search
from services.detector.service import DetectorService
from serving.images.cost import outline
from serving.images.crop import cut_crops
from serving.images.decode import decode, decode_reduced
from serving.tensors import from_tensor
from tests.processes import ROOT
from tests.services.detector.test_service import box, detect, settings
from tests.services.running import serve
from tests.serving.images.files import encode
from tests.tiny_models import DETECTOR_SIDE, detector_graph, detector_manifest, publish

SAMPLE = sorted((ROOT / "samples").glob("*.jpg"))[0]


def photo(width: int, height: int, orientation: int = 1) -> bytes:
    with Image.open(SAMPLE) as sample:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return encode(sample.convert("RGB").resize((width, height)), "JPEG", quality=92, exif=exif)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("size", [(640, 480), (643, 477), (17, 900), (1, 1)])
def test_a_reduced_picture_knows_its_size_and_is_the_picture_shrunk(
    size: tuple[int, int], orientation: int, reduction: int
) -> None:
    data = photo(*size, orientation)
    whole, reduced = decode(data), decode_reduced(data, reduction)
    assert (reduced.height, reduced.width) == whole.shape[:2]
    assert reduced.reduction <= reduction
    assert reduced.pixels.shape[:2] == tuple(-(-side // reduced.reduction) for side in whole.shape[:2])
    inside = whole[: whole.shape[0] // 8 * 8, : whole.shape[1] // 8 * 8]
    if orientation == 1 and min(inside.shape) > 1:
        by = reduced.reduction
        means = inside.reshape(inside.shape[0] // by, by, inside.shape[1] // by, by, 3).mean(axis=(1, 3))
        assert np.abs(reduced.pixels[: len(means), : means.shape[1]] - means).mean() < 4


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_a_crop_that_is_large_enough_in_the_reduced_picture_loses_nothing(reduction: int, margin: float) -> None:
    data = photo(2048, 1536)
    side = 2 * 64 * reduction
    boxes = np.array([[101, 53, 101 + side, 53 + side], [333, 200, 350 + side, 190 + side]], np.float32)
    whole = cut_crops(decode(data), boxes, 64, margin)
    reduced = cut_crops(decode_reduced(data, reduction).pixels, boxes / reduction, 64, margin)
    assert np.abs(whole.astype(int) - reduced).mean() < 1.5


def test_the_factor_keeps_twice_the_models_input_and_twice_the_crop() -> None:
    manifest = detector_manifest()
    image = outline(photo(DETECTOR_SIDE * 2 * 4, 300))
    assert reduction_for_search(image, manifest) == 4
    assert reduction_for_search(replace(image, width=DETECTOR_SIDE * 2 * 4 - 1), manifest) == 2
    assert reduction_for_search(replace(image, costs={1: image.costs[1]}), manifest) == 1
    assert reduction_for_crops(image, [1024, 512], 64) == 4
    assert reduction_for_crops(image, [1024, 511], 64) == 2
    assert reduction_for_crops(image, [100], 64) == 1
    assert reduction_for_crops(image, [], 64) == 8


@pytest.mark.parametrize("crop_size", [8, 64, 256])
@pytest.mark.parametrize("orientation", [1, 6])
async def test_the_service_answers_as_from_the_whole_picture(tmp_path: Path, crop_size: int, orientation: int) -> None:
    """A small crop is cut from the copy that was searched, a large one from the picture decoded again."""
    publish(tmp_path, detector_manifest(), detector_graph())
    exif = Image.Exif()
    exif[0x0112] = orientation
    bright = Image.fromarray(np.asarray(Image.open(SAMPLE).convert("RGB").resize((600, 400))) // 8 + 220)
    data = encode(bright, "JPEG", quality=95, exif=exif)
    chosen = settings(tmp_path)
    async with serve(DetectorService(chosen), chosen) as channel:
        stub: Any = detector_pb2_grpc.DetectorStub(channel)
        reduced = await detect(stub, data, crop_size=crop_size)
        pixels = decode(data)
        whole = await detect(stub, encode(Image.fromarray(pixels), "PNG"), crop_size=crop_size)
    assert reduced.image_size == whole.image_size
    (ours,), (theirs,) = reduced.detections, whole.detections
    np.testing.assert_allclose(box(ours), box(theirs), atol=4)
    assert ours.score == pytest.approx(theirs.score, abs=0.01)
    ours_crops, crops = from_tensor(reduced.crops, "crops"), from_tensor(whole.crops, "crops")
    assert np.abs(ours_crops.astype(int) - crops).mean() < 2
