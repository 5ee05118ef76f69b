"""The classifier as a service: crops in, probabilities and, if asked, embeddings out, for any model served."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from services.classifier.inference_v2 import ClassifierModels
from services.classifier.judged import Judged
from services.classifier.judging import PROBABILITIES, judging
from services.classifier.probabilities import probabilities
from services.classifier.settings import ClassifierSettings
from services.classifier.views import VIEWS, make_views, mean_over_views
from serving.budget import Budget
from serving.errors import InvalidArgumentError, ServiceError
from serving.inference_v2 import servicer as inference_v2
from serving.models.backends.base import Rows
from serving.models.batching.turns import Turns
from serving.models.service import ModelService
from serving.preprocess import prepare
from serving.repository.manifest import InputSpec, Task
from serving.repository.policy import parse_policies
from serving.rpc.context import deadline_after, is_suspect, worked
from serving.tensors import from_tensor, to_tensor

MAX_CROPS = 256
MIN_SIDE = 8
MAX_SIDE = 512
_SMALL_SIDE = 128
"""Crops up to this side are prepared on the thread of the run, all of a run together: to hand them to another thread
and back would cost more. Crops of other sides are in runs of their own."""


class ClassifierService(ModelService, classifier_pb2_grpc.ClassifierServicer):
    """Serves ferry.v1.Classifier."""

    name = "classifier"
    grpc_services = ("ferry.v1.Classifier", inference_v2.SERVICE)
    probes = inference_v2.PROBES
    compared = "/ferry.v1.Classifier/Classify"

    def __init__(self, settings: ClassifierSettings, turns: Turns | None = None) -> None:
        """
        Args:
            settings: as it was started with.
            turns: shared with other services of this process.
        """
        policies = parse_policies(settings.models)
        super().__init__(settings, policies, Task.CLASSIFY, turns, around=judging)
        self._settings = settings
        self.name = f"classifier-{policies[0].name}"
        self._models = ClassifierModels(self._host, self.judge)
        self._held = Budget(settings.crop_budget * 1_000_000, settings.max_queue, "requests")

    def register(self, server: grpc.aio.Server) -> None:
        classifier_pb2_grpc.add_ClassifierServicer_to_server(self, server)
        inference_v2.register(server, self._models, self.name, lambda: self.ready)

    async def Classify(  # noqa: N802
        self,
        request: classifier_pb2.ClassifyRequest,
        context: grpc.aio.ServicerContext[classifier_pb2.ClassifyRequest, classifier_pb2.ClassifyResponse],
    ) -> classifier_pb2.ClassifyResponse:
        crops: npt.NDArray[Any] = from_tensor(request.crops, "crops")
        name, version = request.model_name, request.model_version
        judged = await self.judge(crops, name, version, augment=request.test_time_augmentation)
        embeddings = judged.embeddings if request.include_embeddings else None
        return classifier_pb2.ClassifyResponse(
            probabilities=to_tensor(judged.probabilities),
            embeddings=None if embeddings is None else to_tensor(embeddings),
            model=judged.model,
            queue_ms=judged.queue_seconds * 1000,
            compute_ms=judged.compute_seconds * 1000,
            load_failure=self._host.load_failure(judged.model.name),
        )

    async def judge(self, crops: npt.NDArray[Any], name: str, version: str, *, augment: bool) -> Judged:
        """What a model says of crops.

        Args:
            crops: as a caller sent them.
            name: of the model; empty: the first.
            version: empty: the one that is current.
            augment: average over several views of each crop.

        Raises:
            InvalidArgumentError: field `crops`; shape, type or number do not fit.
            NotFoundError: the model is not served here.
            ServiceError: it could not answer.
        """
        _check(crops)
        with self._host.use(name, version) as model:
            manifest = model.manifest
            async with self._held.hold(crops.nbytes * (len(VIEWS) if augment else 1)) as lease:
                deadline = deadline_after(self._settings.max_timeout)
                apart = is_suspect()
                rows: Rows = crops
                in_run = not apart and model.around and max(crops.shape[1:3]) <= _SMALL_SIDE
                if augment or not in_run:
                    spec = None if in_run else manifest.input
                    rows = await lease.run(self._pool, _rows, crops, spec, augment)
                run = await model.run(rows, deadline, apart=apart)
            worked(run.row_seconds)
            found = run.outputs[PROBABILITIES] if PROBABILITIES in run.outputs else probabilities(run.outputs, manifest)
            shares = mean_over_views(found, len(crops))
            if not np.isfinite(shares).all():
                raise ServiceError(f"{manifest.name} {manifest.version} gave no finite probabilities")
            embedding = manifest.output.embedding
            # The first view is the crop itself.
            embeddings = None if embedding is None else run.outputs[embedding][: len(crops)]
            return Judged(model.version(), shares, embeddings, run.queue_seconds, run.compute_seconds)


def _check(crops: npt.NDArray[Any]) -> None:
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise InvalidArgumentError("crops", f"must be uint8 [N, H, W, 3], not {crops.dtype} {list(crops.shape)}")
    if not 1 <= len(crops) <= MAX_CROPS:
        raise InvalidArgumentError("crops", f"must hold 1 to {MAX_CROPS} crops, not {len(crops)}")
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in crops.shape[1:3]):
        raise InvalidArgumentError("crops", f"must have sides of {MIN_SIDE} to {MAX_SIDE} pixels")


def _rows(crops: npt.NDArray[np.uint8], spec: InputSpec | None, augment: bool) -> Rows:
    """A row for each view of each crop, all crops of the first view first: the model's input, or, without its
    specification, crops still."""
    if augment:
        crops = make_views(crops).reshape(-1, *crops.shape[1:])
    return crops if spec is None else prepare(crops, spec)
