"""The services behind the ensembler: one stub a model, and which version of it was heard of last."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from ferry.v1 import classifier_pb2, classifier_pb2_grpc, detector_pb2, detector_pb2_grpc, types_pb2
from services.ensembler.checks import NonsenseError, check_crops, checked_probabilities
from services.ensembler.recipe import ModelEntry
from serving.errors import DeadlineError, ServiceError, UnavailableError, UpstreamError
from serving.freshness import Freshest
from serving.rpc.upstream import Upstream

log = logging.getLogger(__name__)

COMPLAINT_SECONDS = 10.0
"""A model that keeps failing is logged at most this often; ferry_degraded_total counts every time."""
START_SECONDS = 60.0
"""In which a service that has never answered may still load its models."""

_STILL_THERE = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT}


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What one classifier said of all faces: probabilities float32 [N, 7], rows sum to 1; times in milliseconds."""

    model: types_pb2.ModelVersion
    probabilities: npt.NDArray[np.float32]
    queue_ms: float
    compute_ms: float


class Model:
    """One model of the recipe, and what is known of it.

    Attributes:
        entry: its place in the recipe.
        load_failure: a version that its service should serve and cannot load.
        available: whether it answered last.
        heard_at: time.monotonic() of the last answer.
    """

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self._newest: Freshest[types_pb2.ModelVersion | None] = Freshest(None)
        self.load_failure: types_pb2.LoadFailure | None = None
        self.available = False
        self.heard_at = -math.inf
        self._complained_at = -math.inf
        self._made_at = time.monotonic()
        self._upstream: Upstream | None = None

    @property
    def model(self) -> types_pb2.ModelVersion | None:
        """The version that answered last; None before the first answer."""
        return self._newest.value

    @property
    def away(self) -> bool:
        """Whether calls wait for it: no replica takes them."""
        return self._upstream is not None and self._upstream.away

    def open(self, health_service: str) -> Upstream:
        """Connects; to be called on the event loop."""
        self._upstream = Upstream(
            self.entry.address, name=self.entry.name, health_service=health_service, caller="ensembler"
        )
        return self._upstream

    async def close(self) -> None:
        if self._upstream is not None:
            await self._upstream.close()

    def heard(self, response: detector_pb2.DetectResponse | classifier_pb2.ClassifyResponse, asked_at: float) -> None:
        """The model answered a question of time.monotonic() `asked_at`."""
        model = response.model
        if not self.available:
            log.info("%s is available", self.entry.name, extra={"version": model.version, "digest": model.digest})
        self.available = True
        self.heard_at = time.monotonic()
        known = self._newest.value
        if known != model:
            # A copy: a part of a message keeps the whole of it, crops included, in memory.
            known = types_pb2.ModelVersion()
            known.CopyFrom(model)
        if self._newest.hear(known, asked_at):
            self.load_failure = None
            if response.HasField("load_failure"):
                self.load_failure = types_pb2.LoadFailure()
                self.load_failure.CopyFrom(response.load_failure)

    def failed(self, error: ServiceError | NonsenseError) -> None:
        """The model did not answer. Overload, bad input and a caller without time are not its absence."""
        if isinstance(error, UpstreamError):
            absent = error.code not in _STILL_THERE
        else:
            absent = not isinstance(error, DeadlineError)
        if absent:
            self.lost(error)

    def lost(self, reason: Exception) -> None:
        """The model is not there, or not right."""
        self.available = False
        self.complain(reason)

    def complain(self, reason: Exception) -> None:
        """Logs that the model did not answer, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._complained_at >= COMPLAINT_SECONDS:
            self._complained_at = now
            starting = self.heard_at == -math.inf and now - self._made_at < START_SECONDS
            log.log(logging.INFO if starting else logging.WARNING, "%s did not answer: %s", self.entry.name, reason)


class DetectorModel(Model):
    """The detector."""

    def connect(self) -> None:
        self._service = self.open("ferry.v1.Detector")
        self._stub = detector_pb2_grpc.DetectorStub(self._service.channel)

    async def detect(self, request: detector_pb2.DetectRequest, patience: float) -> detector_pb2.DetectResponse:
        """Faces and, where `request.crop_size` is not 0, their crops, checked in shape.

        Args:
            request: without the model's name, which is filled in.
            patience: as for serving.rpc.upstream.Upstream.call; on top of the recipe's own timeout.

        Raises:
            ServiceError: as Upstream.call; the detector's own errors keep their status and details.
        """
        request.model_name, request.model_version = self.entry.name, self.entry.version
        asked_at = time.monotonic()
        try:
            response = await self._service.call(
                self._stub.Detect, request, timeout=self.entry.timeout + patience, patience=patience
            )
            if request.crop_size and response.detections:
                check_crops(response.crops, len(response.detections), request.crop_size)
        except ServiceError as error:
            self.failed(error)
            raise
        except NonsenseError as error:
            self.failed(error)
            raise UnavailableError(f"{self.entry.name} gave an answer that cannot be used: {error}") from error
        self.heard(response, asked_at)
        return response


class ClassifierModel(Model):
    """A classifier."""

    def connect(self) -> None:
        self._service = self.open("ferry.v1.Classifier")
        self._stub = classifier_pb2_grpc.ClassifierStub(self._service.channel)

    async def classify(
        self, crops: types_pb2.Tensor, augment: bool, timeout: float, patience: float, again: bool = False
    ) -> Judgement:
        """Its judgement of every crop.

        Args:
            crops: uint8 [N, size, size, 3], passed on as it is.
            augment: average over views.
            timeout: seconds; the recipe's own, where shorter, counts.
            patience: as for serving.rpc.upstream.Upstream.call.
            again: likewise.

        Raises:
            ServiceError: as Upstream.call.
            NonsenseError: shape or values of the answer cannot be.
        """
        request = classifier_pb2.ClassifyRequest(
            crops=crops,
            model_name=self.entry.name,
            model_version=self.entry.version,
            test_time_augmentation=augment,
        )
        asked_at = time.monotonic()
        timeout = min(timeout, self.entry.timeout)
        try:
            response = await self._service.call(
                self._stub.Classify, request, timeout=timeout, patience=patience, again=again
            )
            probabilities = checked_probabilities(response.probabilities, crops.shape[0])
        except (ServiceError, NonsenseError) as error:
            self.failed(error)
            raise
        self.heard(response, asked_at)
        return Judgement(response.model, probabilities, response.queue_ms, response.compute_ms)
