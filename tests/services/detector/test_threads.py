"""On which threads pictures are decoded and crops are cut."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ferry.v1 import detector_pb2, detector_pb2_grpc
from services.detector import eyes, search
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from tests.services.running import serve
from tests.serving.images.files import encode
from tests.tiny_models import detector_graph, detector_manifest, publish

RUN = "run"


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Any]:
    publish(tmp_path, detector_manifest(), detector_graph())
    settings = DetectorSettings(models_dir=tmp_path, port=0, backend="onnxruntime", threads=1, reload_interval=0)
    async with serve(DetectorService(settings), settings) as channel:
        yield detector_pb2_grpc.DetectorStub(channel)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where a picture was decoded last, and where its crops were cut."""
    seen: dict[str, str] = {}

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*args: Any, **kwargs: Any) -> Any:
            seen[name] = threading.current_thread().name.partition("-")[0].partition("_")[0]
            return work(*args, **kwargs)

        return watch

    monkeypatch.setattr(eyes, "decode_reduced", watched("decode", eyes.decode_reduced))
    monkeypatch.setattr(search, "cut_crops", watched("cut", search.cut_crops))
    return seen


@pytest.mark.parametrize(
    ("options", "cut"),
    [({}, RUN), ({"max_faces": 80}, RUN), ({"max_faces": 256}, "data"), ({"detail": 2}, "data")],
    ids=["default", "more", "many-crops", "views"],
)
async def test_the_crops_of_an_ordinary_request_are_cut_on_the_thread_of_the_run(
    stub: Any, threads: dict[str, str], options: dict[str, Any], cut: str
) -> None:
    """64 pixels are what a recipe asks for that does not say."""
    image = encode(Image.new("RGB", (128, 96), (240, 230, 220)), "PNG")
    answer = await stub.Detect(detector_pb2.DetectRequest(image=image, crop_size=64, **options), timeout=30)
    assert answer.detections
    assert threads == {"decode": "data", "cut": cut}
