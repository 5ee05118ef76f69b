"""How the gateway answers what is wrong, where it has no thread to spare."""

import pytest

from gateway.http import watch
from tests.gateway.http.conftest import problem
from tests.serving.scarce import spare_threads


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
