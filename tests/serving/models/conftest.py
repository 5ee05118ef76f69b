"""Hosts of models, started and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serving.models.host import ModelHost
from serving.repository.manifest import Task
from serving.repository.policy import parse_policies
from serving.repository.repository import ModelRepository
from serving.settings import ModelServiceSettings
from tests.serving.models.hosts import Host


@pytest.fixture
async def host(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Host]:
    """Starts hosts over the repository in `tmp_path`; ONNX Runtime alone, so that loading takes milliseconds."""
    # Services of one machine load and measure by turns; others on this one are not waited for.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    started: list[ModelHost] = []

    async def start(policies: str, task: Task = Task.CLASSIFY, **settings: Any) -> ModelHost:
        options = {
            "models_dir": tmp_path,
            "backend": "onnxruntime",
            "threads": 1,
            "runs": 1,
            "max_batch": 4,
            "reload_interval": 0,
        }
        made = ModelHost(
            ModelRepository(tmp_path), parse_policies(policies), task, ModelServiceSettings(**(options | settings))
        )
        await made.start()
        started.append(made)
        return made

    yield start
    await asyncio.gather(*(made.stop() for made in started))
