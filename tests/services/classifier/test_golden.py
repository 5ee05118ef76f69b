"""The service answers as the network did in PyTorch on the day it was exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from modelkit.publishing.golden import golden_crops
from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from serving.repository.manifest import Task
from serving.repository.repository import ModelRepository
from serving.tensors import from_tensor, to_tensor
from tests.services.running import serve

MODELS = Path(__file__).parents[3] / "models"


def published() -> list[Any]:
    repository = ModelRepository(MODELS)
    versions = [(name, version) for name in repository.names() for version in repository.versions(name)]
    stored = [repository.open(name, version) for name, version in versions]
    return [
        pytest.param(model, id=f"{model.manifest.name}-{model.manifest.version}")
        for model in stored
        if model.manifest.task is Task.CLASSIFY
    ]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("stored", published())
async def test_service_answers_as_the_toolchain_did(stored: Any, backend: str) -> None:
    name, version = stored.manifest.name, stored.manifest.version
    settings = ClassifierSettings(
        models_dir=MODELS, models=f"{name}:{version}", port=0, backend=backend, threads=1, reload_interval=0
    )
    async with serve(ClassifierService(settings), settings) as channel:
        request = classifier_pb2.ClassifyRequest(crops=to_tensor(golden_crops()), include_embeddings=True)
        answer = await classifier_pb2_grpc.ClassifierStub(channel).Classify(request, timeout=60)
    golden = json.loads((stored.directory / "record.json").read_text())["golden"]
    np.testing.assert_allclose(from_tensor(answer.probabilities, "probabilities"), golden, atol=1e-3)
    assert answer.model.version == version
    if stored.manifest.output.embedding:
        embeddings = from_tensor(answer.embeddings, "embeddings")
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)


def test_golden_crops_never_change() -> None:
    crops = golden_crops()
    assert crops.shape == (4, 64, 64, 3)
    assert (int(crops.sum()), int(crops[2, 31, 17, 1])) == (6339896, 183)
