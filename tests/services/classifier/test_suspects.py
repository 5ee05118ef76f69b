"""Crops that end the process whose model judges them: what that costs. Classifiers are real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import UpstreamError
from serving.rpc.upstream import Upstream
from serving.tensors import to_tensor
from tests.services.classifier.deadly import DEADLY
from tests.services.classifier.fleet import fleets
from tests.tiny_models import SIDE, classifier_graph, classifier_manifest, publish

pytestmark = pytest.mark.e2e
DEADLY_GREY = round(DEADLY * 255)


def question(grey: int) -> classifier_pb2.ClassifyRequest:
    return classifier_pb2.ClassifyRequest(crops=to_tensor(np.full((1, SIDE, SIDE, 3), grey, np.uint8)))


async def test_a_deadly_crop_that_nobody_else_can_judge_costs_one_classifier(tmp_path: Path) -> None:
    publish(tmp_path, classifier_manifest(), classifier_graph())
    async with fleets(tmp_path, 3, "tiny") as (tiny,):
        where = Upstream(tiny.address, name="tiny", health_service="ferry.v1.Classifier", caller="test")
        classify = classifier_pb2_grpc.ClassifierStub(where.channel).Classify
        try:
            with pytest.raises(UpstreamError, match="ended the process that ran the model") as caught:
                await where.call(classify, question(DEADLY_GREY), timeout=60, patience=10)
            assert caught.value.suspect
            for _ in range(6):
                assert await where.call(classify, question(100), timeout=60, patience=10)
        finally:
            await where.close()
        assert tiny.dead == 1
