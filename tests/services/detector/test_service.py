"""The detector over real sockets, with a model whose answers are known: a face where the picture is bright."""

from __future__ import annotations

import asyncio
import io
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, features

from ferry.v1 import detector_pb2, detector_pb2_grpc
from services.detector.options import check_options
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from serving.errors import DeadlineError
from serving.images.apart.helper import Helper
from serving.images.crop import cut_crops
from serving.images.decode import decode
from serving.repository.manifest import Encoding
from serving.rpc import context as request_context
from serving.rpc.context import Losses, RequestContext
from serving.tensors import from_tensor
from tests.circles import no_circles
from tests.services.running import refusal, serve
from tests.serving.images.files import encode, png_header
from tests.serving.images.webp_files import many_groups
from tests.tiny_models import DETECTOR_SIDE, FACE, bytes_graph, detector_graph, detector_manifest, publish

Status = grpc.StatusCode


def picture(width: int = DETECTOR_SIDE, height: int = DETECTOR_SIDE, low: int = 200, high: int = 256) -> bytes:
    pixels = np.random.default_rng(0).integers(low, high, (height, width, 3), np.uint8)
    return encode(Image.fromarray(pixels), "PNG")


BRIGHT = picture()
DARK = picture(low=0, high=50)


def settings(root: Path, **changes: Any) -> DetectorSettings:
    options = {"models_dir": root, "port": 0, "backend": "onnxruntime", "threads": 1, "reload_interval": 0}
    return DetectorSettings(**(options | changes))


@pytest.fixture
async def detector(tmp_path: Path) -> AsyncIterator[detector_pb2_grpc.DetectorAsyncStub]:
    publish(tmp_path, detector_manifest(version="1"), detector_graph())
    publish(tmp_path, detector_manifest(version="2", description="the same, later"), detector_graph())
    chosen = settings(tmp_path, model="detector:2+1", max_image_bytes=200_000, max_megapixels=1)
    async with serve(DetectorService(chosen), chosen) as channel:
        yield detector_pb2_grpc.DetectorStub(channel)  # type: ignore[misc]


async def detect(stub: Any, image: bytes = BRIGHT, **options: Any) -> detector_pb2.DetectResponse:
    answer = await stub.Detect(detector_pb2.DetectRequest(image=image, **options), timeout=30)
    assert isinstance(answer, detector_pb2.DetectResponse)
    return answer


def box(detection: detector_pb2.Detection) -> npt.NDArray[np.float64]:
    b = detection.box
    return np.array([b.x_min, b.y_min, b.x_max, b.y_max])


async def test_no_process_is_started_for_a_suspect_whose_caller_would_be_gone_before_it_ran(tmp_path: Path) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    chosen = settings(tmp_path, model="detector")
    helper = Helper("no.such.program")
    service = DetectorService(chosen, helper)
    async with serve(service, chosen):
        context = RequestContext("order-4711", time.monotonic() + helper.start_seconds, losses=Losses(1))
        token = request_context.current.set(context)
        try:
            with pytest.raises(DeadlineError, match="too little time"):
                await service.detect(BRIGHT, "", "", check_options(detector_pb2.DetectRequest()))
        finally:
            request_context.current.reset(token)


async def test_a_face_has_box_score_and_probabilities(detector: Any) -> None:
    answer = await detect(detector)
    (face,) = answer.detections
    brightness = decode(BRIGHT).mean() / 255
    np.testing.assert_allclose(box(face), FACE, atol=0.01)
    assert face.score == pytest.approx(brightness, abs=1e-3)
    assert sum(face.probabilities) == pytest.approx(1, abs=1e-5)
    assert face.probabilities[0] == pytest.approx(1 / 1.3, abs=1e-3)
    assert (answer.image_size.width, answer.image_size.height) == (64, 64)
    assert not answer.HasField("crops")
    assert answer.decode_ms > 0
    assert answer.compute_ms > 0


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("heif", [False, True])
async def test_avif_is_decoded_where_that_is_switched_on(tmp_path: Path, heif: bool) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    chosen = settings(tmp_path, heif=heif)
    data = encode(Image.new("RGB", (80, 64), "white"), "AVIF")
    async with serve(DetectorService(chosen), chosen) as channel:
        stub = detector_pb2_grpc.DetectorStub(channel)
        if heif:
            answer = await detect(stub, data)
            assert (answer.image_size.width, answer.image_size.height) == (80, 64)
        else:
            with pytest.raises(grpc.aio.AioRpcError, match="is AVIF, which is not switched on here") as caught:
                await detect(stub, data)
            assert caught.value.code() is Status.INVALID_ARGUMENT


async def test_a_lossless_picture_takes_no_more_memory_than_its_header_says(tmp_path: Path) -> None:
    """Its 65,536 groups of codes take 350 MiB, of which nothing is known before they are read."""
    publish(tmp_path, detector_manifest(), detector_graph())
    chosen = settings(tmp_path)
    async with serve(DetectorService(chosen), chosen) as channel:
        stub = detector_pb2_grpc.DetectorStub(channel)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(grpc.aio.AioRpcError, match="image: ") as caught:
            await detect(stub, many_groups(1024))
        assert caught.value.code() is Status.INVALID_ARGUMENT
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100
        bright = Image.open(io.BytesIO(BRIGHT)).resize((300, 300))
        assert len((await detect(stub, encode(bright, "WEBP", lossless=True))).detections) == 1


async def test_boxes_are_in_pixels_of_the_image_whatever_its_size(detector: Any) -> None:
    (face,) = (await detect(detector, picture(256, 128))).detections
    # Letterboxed to 64 x 32 with 16 rows of padding above: one pixel of the input is four of the image.
    np.testing.assert_allclose(box(face), [64, 0, 192, 96], atol=0.1)


async def test_boxes_are_in_pixels_of_the_upright_image(detector: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(np.full((64, 128, 3), 250, np.uint8)), "PNG", exif=exif)
    answer = await detect(detector, data)
    assert (answer.image_size.width, answer.image_size.height) == (64, 128)
    assert box(answer.detections[0])[3] <= 128


async def test_an_image_without_faces_is_an_answer_without_faces(detector: Any) -> None:
    answer = await detect(detector, DARK, crop_size=32)
    assert not answer.detections
    assert list(answer.crops.shape) == [0, 32, 32, 3]


@pytest.mark.parametrize("size", [8, 48, 64, 512])
async def test_crops_come_at_the_size_asked_for_and_are_those_of_the_crop_rule(detector: Any, size: int) -> None:
    answer = await detect(detector, crop_size=size, crop_margin=0.1)
    crops = from_tensor(answer.crops, "crops")
    expected = cut_crops(
        decode(BRIGHT), box(answer.detections[0])[None].astype(np.float32), size, np.float32(0.1).item()
    )
    np.testing.assert_array_equal(crops, expected)


@pytest.mark.parametrize(
    ("options", "faces"),
    [
        ({"min_score": 0.5}, 1),
        ({"min_score": 0.99}, 0),
        ({"min_face_size": 31.5}, 1),
        ({"min_face_size": 33}, 0),
        ({"max_faces": 1}, 1),
        ({"max_faces": 256, "crop_size": 64}, 1),
        ({"crop_margin": -0.4}, 1),
        ({"crop_margin": 1, "crop_size": 8}, 1),
    ],
)
async def test_options_that_fit(detector: Any, options: dict[str, Any], faces: int) -> None:
    assert len((await detect(detector, **options)).detections) == faces


NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_faces": 257}, "max_faces"),
        ({"max_faces": 0xFFFFFFFF}, "max_faces"),
        ({"detail": 5}, "detail"),
        ({"min_score": -0.1}, "min_score"),
        ({"min_score": 1.1}, "min_score"),
        ({"min_score": NAN}, "min_score"),
        ({"min_face_size": -1}, "min_face_size"),
        ({"min_face_size": NAN}, "min_face_size"),
        ({"min_face_size": float("inf")}, "min_face_size"),
        ({"crop_size": 7}, "crop_size"),
        ({"crop_size": 513}, "crop_size"),
        ({"crop_size": 0xFFFFFFFF}, "crop_size"),
        ({"crop_size": 512, "max_faces": 256}, "crop_size"),
        ({"crop_margin": NAN}, "crop_margin"),
        ({"crop_margin": -0.5}, "crop_margin"),
        ({"crop_margin": 1e30}, "crop_margin"),
        ({"image": b""}, "image"),
        ({"image": b"no image"}, "image"),
        ({"image": BRIGHT[:-100]}, "image"),
        ({"image": png_header(65_000, 65_000)}, "image"),
        ({"image": bytes(200_001)}, "image"),
        ({"image": picture(1001, 1000, 250)}, "image"),
    ],
)
async def test_what_does_not_fit_is_refused_by_field(detector: Any, options: dict[str, Any], field: str) -> None:
    refused = await refusal(detector.Detect, detector_pb2.DetectRequest(**({"image": BRIGHT} | options)))
    assert (refused.code, refused.field) == (Status.INVALID_ARGUMENT, field)
    assert (await detect(detector)).detections


async def test_versions_answer_side_by_side_and_say_which_they_are(detector: Any) -> None:
    default, first = await detect(detector), await detect(detector, model_name="detector", model_version="1")
    assert (default.model.name, default.model.version) == ("detector", "2")
    assert first.model.version == "1"
    assert default.model.digest != first.model.digest


@pytest.mark.parametrize("wanted", [{"model_version": "3"}, {"model_name": "yolo"}, {"model_name": "../detector"}])
async def test_a_model_that_is_not_served_is_not_found(detector: Any, wanted: dict[str, str]) -> None:
    refused = await refusal(detector.Detect, detector_pb2.DetectRequest(image=BRIGHT, **wanted))
    assert refused.code is Status.NOT_FOUND
    assert "detector 1, detector 2" in refused.message


async def test_a_bad_image_does_not_harm_those_beside_it(detector: Any) -> None:
    images = [BRIGHT, DARK, b"broken", BRIGHT[:-100]] * 8
    requests = [detector_pb2.DetectRequest(image=image) for image in images]
    outcomes = await asyncio.gather(*(detector.Detect(r, timeout=30) for r in requests), return_exceptions=True)
    for image, outcome in zip(images, outcomes, strict=True):
        if image in {BRIGHT, DARK}:
            assert len(outcome.detections) == (image is BRIGHT)
        else:
            assert outcome.code() is Status.INVALID_ARGUMENT


async def test_images_of_different_sizes_share_runs(detector: Any) -> None:
    sizes = [(64, 64), (640, 480), (31, 500), (500, 31)] * 4
    pictures = {size: picture(*size, low=255) for size in sizes}
    answers = await asyncio.gather(*(detect(detector, pictures[size]) for size in sizes))
    assert [(a.image_size.width, a.image_size.height) for a in answers] == sizes


async def test_more_pixels_than_the_budget_wait_their_turn_and_all_are_answered(tmp_path: Path) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    chosen = settings(tmp_path, decode_budget=32 << 20, max_megapixels=1)
    async with serve(DetectorService(chosen), chosen) as channel:
        stub = detector_pb2_grpc.DetectorStub(channel)
        answers = await asyncio.gather(*(detect(stub, picture(90, 90)) for _ in range(20)))
    assert all(len(answer.detections) == 1 for answer in answers)


async def test_more_images_than_may_wait_are_told_when_to_come_back(tmp_path: Path) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    chosen = settings(tmp_path, decode_budget=32 << 20, max_megapixels=1, max_queue=1)
    async with serve(DetectorService(chosen), chosen) as channel:
        stub = detector_pb2_grpc.DetectorStub(channel)
        large = picture(700, 700)
        calls = (stub.Detect(detector_pb2.DetectRequest(image=large), timeout=30) for _ in range(20))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    codes = {getattr(outcome, "code", lambda: Status.OK)() for outcome in outcomes}
    assert codes == {Status.OK, Status.RESOURCE_EXHAUSTED}


async def test_an_image_that_fits_no_budget_is_told_how_much_it_takes(tmp_path: Path) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    chosen = settings(tmp_path, decode_budget=32 << 20, max_megapixels=4)
    async with serve(DetectorService(chosen), chosen) as channel:
        stub = detector_pb2_grpc.DetectorStub(channel)
        webp = encode(Image.new("RGBA", (2000, 2000)), "WEBP", lossless=True)
        refused = await refusal(stub.Detect, detector_pb2.DetectRequest(image=webp))
        assert (refused.code, refused.field) == (Status.INVALID_ARGUMENT, "image")
        assert "takes 54 MiB to decode (WEBP, RGBA, 2000 x 2000 pixels), more than the 32 MiB" in refused.message
        assert (await detect(stub, BRIGHT)).detections


async def test_a_closer_look_finds_faces_in_tiles_in_pixels_of_the_picture(detector: Any) -> None:
    """The model sees a face in the middle left of whatever is bright; with tiles it sees one in every bright tile."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:146, :146] = 250  # the upper left of four tiles of 147 pixels
    data = encode(Image.fromarray(pixels), "PNG")
    assert not (await detect(detector, data)).detections
    (face,) = (await detect(detector, data, detail=2)).detections
    np.testing.assert_allclose(box(face), np.array(FACE) * 147 / 64, atol=1)
    tile = (await detect(detector, data, detail=2, crop_size=32)).crops
    assert from_tensor(tile, "crops").mean() == pytest.approx(250, abs=1)


@pytest.mark.parametrize(
    ("image", "timeout"), [(BRIGHT[:800], 30), (b"no picture", 30), (BRIGHT, 0.001)], ids=["cut", "none", "late"]
)
async def test_a_picture_that_fails_is_let_go_of_at_once(detector: Any, image: bytes, timeout: float) -> None:
    with no_circles():
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await detector.Detect(detector_pb2.DetectRequest(image=image), timeout=timeout)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
async def test_a_model_of_many_frames_that_takes_bytes_answers_as_the_one_that_does_not(
    tmp_path: Path, backend: str
) -> None:
    plain = detector_manifest(version="1")
    spec = plain.input.model_copy(update={"encoding": Encoding.BYTES, "sides": (32, 48)})
    publish(tmp_path, plain, detector_graph())
    publish(
        tmp_path,
        detector_manifest(version="2", input=spec),
        bytes_graph(detector_graph(), (0,) * 3, (1,) * 3, free=True),
    )
    chosen = settings(tmp_path, model="detector:1+2", backend=backend)
    async with serve(DetectorService(chosen), chosen) as channel:
        stub = detector_pb2_grpc.DetectorStub(channel)
        # Square, lying, standing; all at once, so that some share a run.
        images = [picture(), picture(128, 96), picture(96, 128), picture(128, 64), picture(64, 128)] * 2
        old = await asyncio.gather(*(detect(stub, image, model_version="1") for image in images))
        new = await asyncio.gather(*(detect(stub, image, model_version="2") for image in images))
        for image, before, after in zip(images, old, new, strict=True):
            height, width = decode(image).shape[:2]
            assert (after.image_size.width, after.image_size.height) == (width, height)
            if width == height:
                assert after.detections[0].score == pytest.approx(before.detections[0].score, abs=1e-6)
                np.testing.assert_allclose(box(after.detections[0]), box(before.detections[0]), atol=1e-3)
            # The full frame of the old one is padded with grey, which counts to its brightness.
            assert after.detections[0].score == pytest.approx(decode(image).mean() / 255, abs=2e-3)
        tiled = await detect(stub, picture(256, 128), model_version="2", detail=2)
        assert tiled.detections
