"""A first look at a smaller copy: enough where all is clear in it, and else as if there had been none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from ferry.v1 import detector_pb2, detector_pb2_grpc
from services.detector.coarse import clear_faces
from services.detector.letterbox import Geometry
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from serving.repository.manifest import CoarseSpec, Encoding, Manifest
from serving.tensors import from_tensor
from tests.services.running import serve
from tests.serving.images.files import encode
from tests.tiny_models import DETECTOR_SIDE, FACE, bytes_graph, detector_graph, detector_manifest, publish

SPEC = CoarseSpec(scale=0.5, unsure=0.3, sure=0.8, least_face=10)
CLOSELY, COARSELY = list(FACE), [32.0, 16.0, 64.0, 64.0]
"""The tiny model finds its face at one place of whatever frame it is given: in half of one it is twice as large."""


def manifest_of(**changes: Any) -> Manifest:
    plain = detector_manifest()
    spec = plain.input.model_copy(update={"encoding": Encoding.BYTES, "sides": (32, 48)})
    return detector_manifest(**{"input": spec, "coarse": SPEC} | changes)


def picture(grey: int, kind: str = "PNG", side: int = DETECTOR_SIDE) -> bytes:
    """A square of one grey, which is the score of the face that is found in it, of 255."""
    return encode(Image.new("RGB", (side, side), (grey,) * 3), kind)


@asynccontextmanager
async def detector(root: Path, manifest: Manifest, **changes: Any) -> AsyncIterator[Any]:
    if not root.joinpath(manifest.name).exists():
        publish(root, manifest, bytes_graph(detector_graph(), (0,) * 3, (1,) * 3, free=True))
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
    before = counted(result)
    async with detector(tmp_path, manifest_of()) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(grey, kind), crop_size=16))
    assert boxes(answer) == expected
    assert from_tensor(answer.crops, "crops").shape == (len(expected), 16, 16, 3)
    assert counted(result) == before + 1


@pytest.mark.parametrize(
    "options",
    [{"detail": 2}, {"min_score": 0.2}],
    ids=["closer looks are asked for", "what is hardly a face is asked for"],
)
async def test_who_asks_for_more_gets_no_first_look(tmp_path: Path, options: dict[str, Any]) -> None:
    before = counted("clear") + counted("unclear")
    async with detector(tmp_path, manifest_of()) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240, side=128), **options))
    assert len(boxes(answer)) >= 1
    assert counted("clear") + counted("unclear") == before


@pytest.mark.parametrize(
    ("options", "found"),
    [({"min_score": 0.95}, 0), ({"min_face_size": 60}, 0), ({"min_face_size": 40, "min_score": 0.9}, 1)],
)
async def test_options_hold_after_a_first_look(tmp_path: Path, options: dict[str, Any], found: int) -> None:
    before = counted("clear")
    async with detector(tmp_path, manifest_of()) as stub:
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
    async with detector(tmp_path, manifest_of(), **changes) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240)))
    assert boxes(answer) == [expected]


async def test_a_model_that_was_not_measured_so_has_no_first_look(tmp_path: Path) -> None:
    async with detector(tmp_path, manifest_of(coarse=None)) as stub:
        answer = await stub.Detect(detector_pb2.DetectRequest(image=picture(240)))
    assert boxes(answer) == [CLOSELY]


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
    found = clear_faces(raw, Geometry(128, 128, 0.5, 0.5, 0, 0), manifest_of(), SPEC)
    assert (found is not None) == clear
    assert found is None or [f.score for f in found] == pytest.approx([f[4] for f in faces if f[4] >= 0.8])


def test_a_first_look_does_not_change_what_a_version_is() -> None:
    assert manifest_of().digest == manifest_of(coarse=None).digest
    assert manifest_of().coarse_frames == ((32, 32),)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input": detector_manifest().input}, "input.sides"),
        ({"coarse": {"scale": 0.5, "unsure": 0.8, "sure": 0.5, "least_face": 10}}, "unsure must be less"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        manifest_of(**changes)
