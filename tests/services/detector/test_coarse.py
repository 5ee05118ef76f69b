"""A first look at a smaller copy: enough where all is clear in it, and else as if there had been none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from ferry.transport import LOST_KEY
from ferry.v1 import detector_pb2, detector_pb2_grpc
from services.detector.coarse import CoarseSpec, clear_faces, read_coarse
from services.detector.letterbox import Geometry
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from serving.models.tuning import Candidate
from serving.repository.manifest import Encoding, Manifest
from serving.repository.repository import ModelRepository
from serving.tensors import from_tensor
from tests.services.running import serve
from tests.serving.images.files import encode
from tests.tiny_models import DETECTOR_SIDE, FACE, bytes_graph, detector_graph, detector_manifest, publish

NUMBERS = {"scale": 0.5, "unsure": 0.3, "sure": 0.8, "least_face": 10}
CLOSELY, COARSELY = list(FACE), [32.0, 16.0, 64.0, 64.0]
"""The tiny model finds its face at one place of whatever frame it is given: in half of one it is twice as large."""


def manifest_of(**changes: Any) -> Manifest:
    plain = detector_manifest()
    spec = plain.input.model_copy(update={"encoding": Encoding.BYTES, "sides": (32, 48)})
    return detector_manifest(**{"input": spec} | changes)


def published(root: Path, manifest: Manifest | None = None, **numbers: Any) -> Path:
    """A version with its coarse.json."""
    graph = bytes_graph(detector_graph(), (0,) * 3, (1,) * 3, free=True)
    directory = publish(root, manifest or manifest_of(), graph)
    text = json.dumps({"digest": Manifest.read(directory).digest, **NUMBERS, **numbers})
    (directory / "coarse.json").write_text(text)
    return directory


def picture(grey: int, kind: str = "PNG", side: int = DETECTOR_SIDE) -> bytes:
    """A square of one grey, which is the score of the face that is found in it, of 255."""
    return encode(Image.new("RGB", (side, side), (grey,) * 3), kind)


@asynccontextmanager
async def detector(root: Path, **changes: Any) -> AsyncIterator[Any]:
    options = {"models_dir": root, "port": 0, "backend": "onnxruntime", "threads": 1, "reload_interval": 0}
    settings = DetectorSettings(**options | {"coarse_first": "on"} | changes)
    async with serve(DetectorService(settings), settings) as channel:
        yield detector_pb2_grpc.DetectorStub(channel)  # type: ignore[no-untyped-call]


def boxes(answer: detector_pb2.DetectResponse) -> list[list[float]]:
    return [[f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max] for f in answer.detections]


def counted(result: str) -> float:
    labels = {"model": "detector", "result": result}
    return REGISTRY.get_sample_value("ferry_coarse_pictures_total", labels) or 0.0


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("grey", "expected", "result"),
    [(240, [COARSELY], "clear"), (180, [CLOSELY], "unclear"), (100, [], "unclear"), (20, [], "unclear")],
    ids=["sure", "unsure", "unsure and none", "nothing there"],
)
async def test_a_first_look_is_enough_where_the_model_is_sure_of_all(
    tmp_path: Path, grey: int, expected: list[list[float]], result: str, kind: str
) -> None:
    published(tmp_path)
    before = counted(result)
    async with detector(tmp_path) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(grey, kind), crop_size=16))
    assert boxes(answer) == expected
    assert from_tensor(answer.crops, "crops").shape == (len(expected), 16, 16, 3)
    assert counted(result) == before + 1


@pytest.mark.parametrize(
    "options",
    [{"detail": 2}, {"min_score": 0.2}],
    ids=["closer-looks", "hardly-a-face"],
)
@pytest.mark.parametrize("side", [DETECTOR_SIDE, 128])
async def test_who_asks_for_more_gets_no_first_look(tmp_path: Path, options: dict[str, Any], side: int) -> None:
    published(tmp_path)
    before = counted("clear") + counted("unclear")
    async with detector(tmp_path) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240, side=side), **options))
    assert len(boxes(answer)) >= 1
    assert counted("clear") + counted("unclear") == before


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"min_score": 0.95}, 0),
        ({"min_face_size": 60}, 0),
        ({"min_face_size": 40, "min_score": 0.9, "max_faces": 1}, 1),
    ],
)
async def test_options_hold_after_a_first_look(tmp_path: Path, options: dict[str, Any], found: int) -> None:
    published(tmp_path)
    before = counted("clear")
    async with detector(tmp_path) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240), **options))
    assert len(answer.detections) == found
    assert counted("clear") == before + 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"coarse_first": "auto"}, CLOSELY),
        ({"coarse_first": "auto", "optimized": True}, COARSELY),
        ({"coarse_first": "off", "optimized": True}, CLOSELY),
    ],
)
async def test_it_belongs_to_what_is_optimized(tmp_path: Path, changes: dict[str, Any], expected: list[float]) -> None:
    published(tmp_path)
    async with detector(tmp_path, **changes) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240)))
    assert boxes(answer) == [expected]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"digest": "0" * 64}, "measured with 000000000000"),
        ({"sure": 0.5}, "threshold of 0.6"),
        ({"unsure": 0.7}, "threshold of 0.6"),
        ({"scale": 0.9}, "no smaller"),
        ({"scale": 2}, "scale"),
        ({"least_face": "many"}, "least_face"),
    ],
)
async def test_what_is_not_for_the_model_is_left_out_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, numbers: dict[str, Any], said: str
) -> None:
    published(tmp_path, **numbers)
    async with detector(tmp_path) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240)))
    assert boxes(answer) == [CLOSELY]
    assert said in caplog.text


async def test_a_model_without_other_sizes_and_one_without_the_file_have_no_first_look(tmp_path: Path) -> None:
    spec = manifest_of().input.model_copy(update={"sides": ()})
    published(tmp_path, manifest_of(input=spec))
    assert read_coarse(tmp_path / "detector/1", Manifest.read(tmp_path / "detector/1")) is None
    (tmp_path / "detector/1/coarse.json").unlink()
    async with detector(tmp_path) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240)))
    assert boxes(answer) == [CLOSELY]


async def test_a_suspect_is_looked_at_closely(tmp_path: Path) -> None:
    published(tmp_path)
    before = counted("clear")
    async with detector(tmp_path) as stub:
        answer = await stub.Detect(
            detector_pb2.DetectRequest(image=picture(240)), timeout=60, metadata=[(LOST_KEY, "1")]
        )
    assert boxes(answer) == [CLOSELY]
    assert counted("clear") == before


async def test_large_pictures_and_those_that_lie_on_their_side_have_their_boxes_where_they_belong(
    tmp_path: Path,
) -> None:
    """640 pixels become 64, of which the first look sees half, 32: a pixel of that is 20 of the picture."""
    published(tmp_path)
    plain = Image.new("RGB", (640, 480), (240,) * 3)
    exif = plain.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = encode(plain, "JPEG", exif=exif)
    async with detector(tmp_path) as stub:
        flat = await stub.Detect(detector_pb2.DetectRequest(image=encode(plain, "JPEG"), crop_size=16))
        upright = await stub.Detect(detector_pb2.DetectRequest(image=turned, crop_size=16))
    # The frame of 32 x 32 has four grey rows above and below the picture, or four columns beside it.
    assert boxes(flat) == [[320, 80, 640, 480]]
    assert boxes(upright) == [[240, 160, 480, 640]]
    assert from_tensor(flat.crops, "crops").shape == from_tensor(upright.crops, "crops").shape == (1, 16, 16, 3)


def test_frames_of_first_looks_are_run_before_the_first_picture_and_on_no_gpu(tmp_path: Path) -> None:
    published(tmp_path)
    stored = ModelRepository(tmp_path).open("detector", "1")
    service = DetectorService(DetectorSettings(models_dir=tmp_path, coarse_first="on"))
    on_cpu = Candidate("onnxruntime", "fp32", 1, 1)
    assert service._coarse_frames(stored, on_cpu) == ((32, 32),)
    assert service._coarse_frames(stored, replace(on_cpu, backend="cuda")) == ()


def face(x: float, side: float, score: float) -> list[float]:
    return [x, 32, side, side, score, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("faces", "clear"),
    [
        ([face(16, 12, 0.9)], True),
        ([face(16, 12, 0.9), face(48, 12, 0.85)], True),
        ([face(16, 12, 0.9), face(48, 12, 0.29)], True),
        ([face(16, 12, 0.9), face(48, 12, 0.31)], False),
        ([face(16, 12, 0.9), face(48, 9, 0.9)], False),
        ([face(16, 12, 0.79)], False),
        ([], False),
    ],
)
def test_what_is_clear(faces: list[list[float]], clear: bool) -> None:
    raw = np.array(faces, np.float32).reshape(-1, 11).T
    spec = CoarseSpec(digest="0" * 64, **NUMBERS)
    found = clear_faces(raw, Geometry(128, 128, 0.5, 0.5, 0, 0), manifest_of(), spec)
    assert (found is not None) == clear
    assert found is None or [f.score for f in found] == pytest.approx([f[4] for f in faces if f[4] >= 0.8])
