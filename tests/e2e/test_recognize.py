"""What a caller of a whole cluster gets: faces, opinions, versions, from the models or from the cache."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from PIL import Image

from cli.cluster import Cluster
from ferry.client import Client, InvalidImageError, Recognition
from ferry.v1 import gateway_pb2, gateway_pb2_grpc, types_pb2
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from tests.e2e.conftest import MODELS, SAMPLES, all_serving, services
from tests.processes import SERVING, health
from tests.serving.images.files import encode

pytestmark = pytest.mark.e2e
Gateway = gateway_pb2_grpc.ExpressionRecognitionStub

FACES = {"eileen-collins": (180, 72, 272, 182), "grace-hopper": (170, 135, 350, 345)}
"""Where the face of each photo is, by eye, hairline to chin: x1, y1, x2, y2, pixels."""


def recognize(gateway: Gateway, image: bytes, **options: Any) -> gateway_pb2.RecognizeResponse:
    answer = gateway.Recognize(gateway_pb2.RecognizeRequest(image=image, **options), timeout=60)
    assert isinstance(answer, gateway_pb2.RecognizeResponse)
    return answer


def overlap(box: types_pb2.BoundingBox, other: tuple[float, ...]) -> float:
    """Intersection over union."""
    width = min(box.x_max, other[2]) - max(box.x_min, other[0])
    height = min(box.y_max, other[3]) - max(box.y_min, other[1])
    shared = max(width, 0) * max(height, 0)
    areas = (box.x_max - box.x_min) * (box.y_max - box.y_min) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / (areas - shared))


def test_every_process_is_serving(cluster: Cluster) -> None:
    assert set(services(cluster)) == {
        "gateway",
        "ensembler",
        "detector",
        "classifier-efficientnet",
        "classifier-arcface",
    }
    assert all_serving(cluster)
    for name, port in services(cluster).items():
        package = {"gateway": "ExpressionRecognition", "ensembler": "Ensembler", "detector": "Detector"}
        assert health(port, f"ferry.v1.{package.get(name, 'Classifier')}") == SERVING


@pytest.mark.parametrize("name", FACES)
def test_a_portrait_has_one_face_with_three_opinions(name: str, gateway: Gateway) -> None:
    answer = recognize(gateway, SAMPLES[name].read_bytes(), bypass_cache=True)
    (face,) = answer.faces
    assert overlap(face.box, FACES[name]) >= 0.5
    assert 0.5 <= face.detection_score <= 1
    assert sum(p.probability for p in face.probabilities) == pytest.approx(1, abs=1e-4)
    best = max(face.probabilities, key=lambda p: p.probability)
    assert (face.expression, face.confidence) == (best.expression, best.probability)
    assert [p.model.name for p in face.predictions] == ["efficientnet", "arcface", "detector"]
    for prediction in face.predictions:
        assert prediction.model.version == "1"
        assert re.fullmatch("[0-9a-f]{64}", prediction.model.digest)
        assert len(prediction.probabilities) == 7
        assert sum(p.probability for p in prediction.probabilities) == pytest.approx(1, abs=1e-4)
    assert sum(p.weight for p in face.predictions) == pytest.approx(1, abs=1e-4)
    assert not answer.degraded
    assert not face.missing_models
    assert not answer.cached
    assert len(answer.models) == 3
    assert answer.timings.total_ms >= answer.timings.ensembler_ms >= answer.timings.detector_ms > 0
    assert re.fullmatch("[0-9a-f]{32}", answer.request_id)


def test_the_second_answer_comes_from_the_cache_and_is_the_same(gateway: Gateway) -> None:
    image = encode(Image.open(SAMPLES["eileen-collins"]).resize((300, 300)), "JPEG")
    first, second = recognize(gateway, image), recognize(gateway, image)
    assert (first.cached, second.cached) == (False, True)
    for volatile in ("cached", "timings", "request_id"):
        first.ClearField(volatile)  # type: ignore[arg-type]
        second.ClearField(volatile)  # type: ignore[arg-type]
    assert first == second
    options = {"max_faces": 1}
    assert not recognize(gateway, image, options=options).cached  # another question has another answer
    assert not recognize(gateway, image, bypass_cache=True).cached


def test_augmentation_asks_the_same_models_and_differs_a_little(gateway: Gateway) -> None:
    image = SAMPLES["eileen-collins"].read_bytes()
    plain = recognize(gateway, image, bypass_cache=True).faces[0]
    augmented = recognize(gateway, image, bypass_cache=True, options={"test_time_augmentation": True}).faces[0]
    assert [p.model for p in plain.predictions] == [p.model for p in augmented.predictions]
    assert plain.probabilities != augmented.probabilities
    assert plain.expression == augmented.expression


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_same_face_is_found_in_every_format(format_: str, gateway: Gateway) -> None:
    image = Image.open(SAMPLES["eileen-collins"])
    answer = recognize(gateway, encode(image, format_))
    (face,) = answer.faces
    assert overlap(face.box, FACES["eileen-collins"]) >= 0.5


def test_a_photo_on_its_side_is_turned_by_its_exif(gateway: Gateway) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(SAMPLES["grace-hopper"]).transpose(Image.Transpose.ROTATE_90)
    answer = recognize(gateway, encode(turned, "JPEG", exif=exif, quality=95))
    assert (answer.image_size.width, answer.image_size.height) == (512, 600)
    (face,) = answer.faces
    assert overlap(face.box, FACES["grace-hopper"]) >= 0.5


def test_an_image_without_faces_is_an_answer_with_no_faces(gateway: Gateway) -> None:
    answer = recognize(gateway, encode(Image.new("RGB", (320, 240), (90, 120, 60)), "JPEG"))
    assert not answer.faces
    assert not answer.degraded
    assert [model.name for model in answer.models] == ["detector"]


def test_in_a_batch_a_broken_image_fails_alone(gateway: Gateway) -> None:
    good = [path.read_bytes() for path in SAMPLES.values()]
    images = [good[0], good[1][:2000], b"", good[1], b"not an image"]
    request = gateway_pb2.RecognizeBatchRequest(requests=[gateway_pb2.RecognizeRequest(image=i) for i in images])
    answers = {answer.index: answer for answer in gateway.RecognizeBatch(request, timeout=60)}
    assert sorted(answers) == [0, 1, 2, 3, 4]
    assert all(answers[index].response.faces for index in (0, 3))
    for index in (1, 2, 4):
        assert answers[index].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert answers[index].error.field.endswith("image")


def test_status_names_every_model_and_its_version(cluster: Cluster, gateway: Gateway) -> None:
    status = gateway.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10)
    (stable,) = status.variants
    assert (stable.name, stable.traffic_share, stable.healthy) == ("stable", 1, True)
    weights = {entry.model.name: round(entry.weight, 3) for entry in stable.entries}
    recipe = read_recipe(DEFAULT_RECIPE)
    assert weights == dict(zip(("efficientnet", "arcface", "detector"), recipe.weights, strict=True))
    assert all(entry.available and entry.model.version == "1" for entry in stable.entries)
    assert status.cache.enabled
    assert status.cache.redis_available
    answer = recognize(gateway, SAMPLES["grace-hopper"].read_bytes())
    assert answer.fingerprint == stable.fingerprint


def test_the_client_library_gets_the_same(cluster: Cluster) -> None:
    with Client(cluster.address) as client:
        recognition = client.recognize(SAMPLES["grace-hopper"])
        assert recognition.faces[0].expression
        with pytest.raises(InvalidImageError):
            client.recognize(b"not an image")


def test_frames_of_a_camera_are_answered_in_their_order(cluster: Cluster) -> None:
    shown = threading.Semaphore(0)

    def camera() -> Iterator[bytes]:
        for name in (*FACES, *FACES):
            yield SAMPLES[name].read_bytes()
            assert shown.acquire(timeout=60)

    with Client(cluster.address, timeout=60) as client:
        answers = []
        for number, answer in client.recognize_stream(camera()):
            answers.append((number, answer))
            shown.release()
        expected = [client.recognize(SAMPLES[name]).faces for name in (*FACES, *FACES)]
    assert [number for number, _ in answers] == [0, 1, 2, 3]
    assert [answer.faces for _, answer in answers if isinstance(answer, Recognition)] == expected


def test_a_normal_start_warns_of_nothing(cluster: Cluster) -> None:
    started = 0
    for endpoint in cluster.endpoints:
        if endpoint.name.startswith("valkey"):
            continue
        for line in (cluster.log_dir / f"{endpoint.name}.log").read_text().splitlines():
            said = json.loads(line)
            # Where nobody has measured the models before, others who are at work meanwhile are worth a warning.
            assert said["level"] in {"DEBUG", "INFO"} or "measured on a busy machine" in said["message"], line
            if said["message"] == "serving":
                started += 1
                break
    assert started == len(services(cluster))


def test_every_metric_of_the_design_is_exported_by_someone(cluster: Cluster) -> None:
    pages = [
        urllib.request.urlopen(f"http://{endpoint.metrics}/metrics", timeout=10).read().decode()
        for endpoint in cluster.endpoints
        if endpoint.metrics
    ]
    page = "\n".join(pages)
    for name in (
        "rpc_server_call_duration_seconds_count{",
        "ferry_inference_in_flight{",
        "ferry_inference_queue_seconds_count{",
        "ferry_inference_compute_seconds_count{",
        "ferry_inference_batch_size_count{",
        "ferry_predictions_total{",
        "ferry_prediction_latency_seconds_count{",
        "ferry_cache_requests_total{",
        "ferry_rejected_total{",
        "ferry_model_info{",
    ):
        assert name in page, name


def test_the_models_used_are_those_published() -> None:
    assert {path.name for path in MODELS.iterdir() if path.is_dir()} >= {"detector", "efficientnet", "arcface"}
