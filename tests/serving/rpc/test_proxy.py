"""HTTP proxies that the environment names."""

from __future__ import annotations

import pytest

from tests.serving.fakes import FakeService, running
from tests.serving.rpc.test_retries import ask, upstream


async def test_none_lies_between_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with running(FakeService()) as (server, _), upstream(server.port) as where:
        assert (await ask(where)).queue_ms == 1
