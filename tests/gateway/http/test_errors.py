"""How the gateway answers what is wrong: where it has no thread to spare, and without keeping it."""

import asyncio

import pytest

from gateway.http import watch
from gateway.http.problems import ProblemError
from serving.errors import ServiceError
from tests.circles import no_circles
from tests.gateway.http.conftest import problem
from tests.serving.scarce import spare_threads

IMAGES_THAT_ARE_NONE = (
    b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2], "data": ["bm8gaW1hZ2U=", "bm8gaW1hZ2U="]}]}'
)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/api/status", 405),
        ("POST", "/api/predict?max_faces=many", 400),
        ("POST", "/api/predict", 415),
        ("GET", "/api/figures", 500),
    ],
)
async def test_no_error_needs_a_thread(http, monkeypatch, method, path, status):
    async def fail(self):
        raise MemoryError

    monkeypatch.setattr(watch.Watch, "figures", fail)
    with spare_threads():
        problem(await http.client.request(method, path, content=b""), status)


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/api/predict", b"--B\r\nno part", "multipart/form-data; boundary=B"),
        ("/api/predict", b"no picture", "image/jpeg"),
        ("/api/predict-batch", b"--B\r\nno part", "multipart/form-data; boundary=B"),
        ("/api/predict-batch", b"[]", "application/json"),
        ("/v2/models/ferry/infer", b'{"inputs": [' + b"1," * 70_000, "application/json"),
        ("/v2/models/ferry/infer", IMAGES_THAT_ARE_NONE, "application/json"),
    ],
    ids=["form", "picture", "form of many", "JSON of many", "tensors", "pictures as tensors"],
)
async def test_a_body_that_is_refused_is_let_go_of_at_once(http, path, content, kind):
    with no_circles((ServiceError, ProblemError)):
        for _ in range(3):
            response = await http.client.post(path, content=content, headers={"content-type": kind})
            assert response.status_code in {400, 415}, response.text
        await asyncio.sleep(0.05)
