"""The embedded Valkey, for real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cli.cluster.supervisor import Supervisor
from cli.cluster.valkey import valkey_spec


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("v")  # a short name: the path of a socket has about 100 characters


def test_holds_data_in_memory_alone(folder: Path, tmp_path: Path) -> None:
    spec = valkey_spec(folder, 0)
    supervisor = Supervisor([spec], tmp_path)
    supervisor.start()

    async def use() -> bytes:
        async with Redis.from_url(spec.address) as redis:
            await redis.set("photo", b"what a caller sent")
            return bytes(await redis.get("photo"))

    try:
        assert asyncio.run(use()) == b"what a caller sent"
    finally:
        assert supervisor.stop()
    left = [path for root in (folder, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["valkey.log"]
    assert b"caller" not in left[0].read_bytes()
