"""Classifiers by the Open Inference Protocol: crops in, probabilities and embeddings out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from services.classifier.judged import Judged
from serving.expressions import EXPRESSIONS
from serving.inference_v2.arrays import from_array, to_array
from serving.inference_v2.hosted import HostedModels, Signature, about
from serving.inference_v2.model import Query, Reply
from serving.inference_v2.tensor import TensorSpec
from serving.models.host import ModelHost
from serving.repository.manifest import Manifest

CROPS, PROBABILITIES, EMBEDDINGS, AUGMENT = "crops", "probabilities", "embeddings", "test_time_augmentation"


class Judge(Protocol):
    """As ClassifierService.judge."""

    async def __call__(self, crops: npt.NDArray[Any], name: str, version: str, *, augment: bool) -> Judged: ...


class ClassifierModels(HostedModels):
    """Those of a classifier."""

    def __init__(self, host: ModelHost, judge: Judge) -> None:
        """
        Args:
            host: of the models.
            judge: asks one of them.
        """
        super().__init__(host)
        self._judge = judge

    def signature(self, manifest: Manifest) -> Signature:
        outputs = [TensorSpec(PROBABILITIES, "FP32", (-1, len(EXPRESSIONS)))]
        if manifest.output.embedding is not None:
            outputs.append(TensorSpec(EMBEDDINGS, "FP32", (-1, -1)))
        return Signature((TensorSpec(CROPS, "UINT8", (-1, -1, -1, 3)),), tuple(outputs), {AUGMENT: bool})

    async def infer(self, query: Query) -> Reply:
        augment = bool(query.parameters.get(AUGMENT, False))
        judged = await self._judge(to_array(query.inputs[CROPS]), query.name, query.version, augment=augment)
        outputs = [from_array(PROBABILITIES, judged.probabilities)]
        if judged.embeddings is not None:
            outputs.append(from_array(EMBEDDINGS, judged.embeddings))
        said = about(judged.model, judged.queue_seconds, judged.compute_seconds)
        return Reply(judged.model.name, judged.model.version, tuple(outputs), said)
