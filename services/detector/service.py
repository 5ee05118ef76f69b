"""The detector as a service: decode once, find faces, cut crops."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc

from ferry.v1 import detector_pb2, detector_pb2_grpc, types_pb2
from services.detector.coarse import CoarseSpec, may_look_coarsely, read_coarse
from services.detector.detected import Detected
from services.detector.engine import DetectedFace
from services.detector.eyes import Eyes, EyesApart, OwnEyes
from services.detector.inference_v2 import DetectorModels
from services.detector.options import Options, check_options
from services.detector.reduction import reduction_for_crops, reduction_for_search
from services.detector.search import Found, Search, decode_and_cut
from services.detector.settings import DetectorSettings
from services.detector.views import useful_detail
from serving.budget import Budget, Lease
from serving.errors import DeadlineError, InvalidArgumentError
from serving.images.apart.helper import Helper
from serving.images.cost import Outline, check_cost
from serving.images.crop import crop_side
from serving.inference_v2 import servicer as inference_v2
from serving.models.backends.base import Rows
from serving.models.batching.result import BatchResult
from serving.models.batching.turns import Turns
from serving.models.host import LoadedModel
from serving.models.service import ModelService
from serving.models.tuning import Candidate
from serving.repository.manifest import Task
from serving.repository.policy import parse_policies
from serving.repository.repository import StoredModel
from serving.rpc.context import deadline_after, is_suspect, worked
from serving.telemetry import metrics
from serving.tensors import to_tensor


class DetectorService(ModelService, detector_pb2_grpc.DetectorServicer):
    """Serves ferry.v1.Detector."""

    name = "detector"
    grpc_services = ("ferry.v1.Detector", inference_v2.SERVICE)
    probes = inference_v2.PROBES
    compared = "/ferry.v1.Detector/Detect"

    def __init__(self, settings: DetectorSettings, helper: Helper | None = None, turns: Turns | None = None) -> None:
        """
        Args:
            settings: as it was started with.
            helper: looks at suspect pictures; None: one of its own.
            turns: shared with other services of this process.
        """
        super().__init__(settings, parse_policies(settings.model), Task.DETECT, turns, frames=self._coarse_frames)
        self._settings = settings
        self._coarse_specs: dict[Path, CoarseSpec | None] = {}
        self._budget = Budget(settings.decode_budget, settings.max_queue, "images", settings.max_waiting_bytes)
        self._eyes = OwnEyes(self._pool, settings.max_megapixels, settings.heif)
        bounds = settings.max_megapixels, settings.max_queue, settings.max_waiting_bytes
        self._eyes_apart = EyesApart(helper or Helper(), *bounds)
        # Of their own, so that suspects hold nobody up who is none.
        self._eyes_for_dear = EyesApart(Helper(), *bounds)

    def register(self, server: grpc.aio.Server) -> None:
        detector_pb2_grpc.add_DetectorServicer_to_server(self, server)
        models = DetectorModels(self._host, self.detect)
        inference_v2.register(server, models, self.name, lambda: self.ready)

    async def start(self) -> None:
        for eyes in (self._eyes, self._eyes_apart, self._eyes_for_dear):
            eyes.headers.begin()
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        self._eyes.close()
        self._eyes_apart.close()
        self._eyes_for_dear.close()

    async def Detect(  # noqa: N802
        self,
        request: detector_pb2.DetectRequest,
        context: grpc.aio.ServicerContext[detector_pb2.DetectRequest, detector_pb2.DetectResponse],
    ) -> detector_pb2.DetectResponse:
        found = await self.detect(request.image, request.model_name, request.model_version, check_options(request))
        return detector_pb2.DetectResponse(
            detections=[to_message(face) for face in found.faces],
            crops=None if found.crops is None else to_tensor(found.crops),
            image_size=found.size,
            model=found.model,
            decode_ms=found.decode_seconds * 1000,
            queue_ms=found.queue_seconds * 1000,
            compute_ms=found.compute_seconds * 1000,
            load_failure=self._host.load_failure(found.model.name),
        )

    async def detect(self, image: bytes, name: str, version: str, options: Options) -> Detected:
        """The faces of an image.

        Args:
            image: encoded.
            name: of the model; empty: the first.
            version: empty: the one that is current.
            options: checked.

        Raises:
            InvalidArgumentError: field `image`; it is no image, or too large.
            NotFoundError: the model is not served here.
            DeadlineError: it is a suspect, and too little time is left to look at it apart.
            ServiceError: there is no answer.
        """
        if len(image) > self._settings.max_image_bytes:
            limit = self._settings.max_image_bytes
            raise InvalidArgumentError("image", f"has {len(image)} bytes, more than {limit}")
        if not is_suspect():
            return await self._look(image, name, version, options, self._eyes)
        eyes: Eyes = self._eyes
        if EyesApart.take(image):
            eyes = self._eyes_apart
            starts = self._eyes_apart.start_seconds + self._host.describe(name, version).apart.start_seconds
            if deadline_after(self._settings.max_timeout) - time.monotonic() < starts:
                raise DeadlineError("too little time is left to start the processes that look at it apart")
        # Whatever looks at it: the model's run is apart too.
        async with self._eyes_apart.turns.hold(1, len(image)) as turn:
            return await self._look(image, name, version, options, eyes, turn=turn)

    async def _look(
        self, image: bytes, name: str, version: str, options: Options, eyes: Eyes, *, turn: Lease | None = None
    ) -> Detected:
        """As `detect`; turn: a suspect's."""
        seen = eyes.at_once(image)
        if seen is None and turn is not None:
            # Kept until the thread is done, or pictures that nobody waits for any more would gather before it.
            seen = await turn.run(eyes.headers, eyes.outline, image)
        elif seen is None:
            seen = await asyncio.get_running_loop().run_in_executor(eyes.headers, eyes.outline, image)
        check_cost(seen, seen.costs[1], self._settings.decode_budget)
        if seen.apart and eyes is self._eyes:
            eyes = self._eyes_for_dear
        with self._host.use(name, version) as model:
            async with self._turn(eyes, turn, image) as now:
                found = await self._find(image, seen, model, options, eyes, turn=now)
            if found.crops is None and options.crop_size:
                async with self._turn(eyes, turn, image, again=True) as now:
                    found = await self._cut_again(image, seen, found, options, eyes, turn=now)
            return found

    def _turn(
        self, eyes: Eyes, turn: Lease | None, image: bytes, *, again: bool = False
    ) -> AbstractAsyncContextManager[Lease | None]:
        """A turn with the eyes for lossless pictures; with others, what turn there is."""
        if eyes is self._eyes_for_dear:
            return self._eyes_for_dear.turns.hold(1, len(image), again=again)
        return nullcontext(turn)

    async def _find(
        self, data: bytes, image: Outline, model: LoadedModel, options: Options, eyes: Eyes, *, turn: Lease | None
    ) -> Detected:
        """Finds faces in as small a copy as will do, and cuts their crops where it will do for them too."""
        spec = model.manifest.input
        detail = useful_detail(image.width, image.height, max(spec.width, spec.height), options.detail)
        reduction = reduction_for_search(image, model.manifest, detail)
        cost, crops = image.costs[reduction], options.crop_bytes
        peak = cost.peak + (eyes.copies - 1) * cost.held
        async with self._budget.hold(max(peak, cost.held + crops), burden=len(data), turn=turn) as lease:
            look = partial(eyes.decode, data, reduction, cost.peak)
            coarse = self._coarse(model, options)
            search = Search(look, model.manifest, options, detail, coarse)
            rows = await lease.run(eyes.pool, search.prepare)
            lease.shrink(cost.held + crops)
            if eyes is self._eyes_for_dear and turn is not None:
                turn.shrink(0)  # its run is with all others
            found, run = await self._run(model, rows, search, lease)
            queued, computed = run.queue_seconds, run.compute_seconds
            if coarse is not None:
                metrics.COARSE_PICTURES.labels(model.manifest.name, "clear" if found.enough else "unclear").inc()
            if not found.enough:
                first = run.row_seconds
                search.look_closely()
                found, run = await self._run(model, await lease.run(self._pool, search.rows), search, lease)
                worked(first + run.row_seconds)
                queued, computed = queued + run.queue_seconds, computed + run.compute_seconds
        picture = search.picture
        return Detected(
            found.faces,
            found.crops,
            types_pb2.ImageSize(width=picture.width, height=picture.height),
            model.version(),
            search.seconds,
            queued,
            computed,
        )

    def _coarse_frames(self, stored: StoredModel, how: Candidate) -> tuple[tuple[int, int], ...]:
        """Of a model that is being loaded: in which frames it is run for first looks."""
        spec = None
        # A GPU is not held up by pixels, but by the way to it and back.
        if self._settings.looks_coarsely and how.device == "cpu":
            spec = read_coarse(stored.directory, stored.manifest)
        self._coarse_specs[stored.directory] = spec
        return () if spec is None else spec.frames(stored.manifest.input)

    def _coarse(self, model: LoadedModel, options: Options) -> CoarseSpec | None:
        """When a first look at a smaller copy is enough; None: the picture is looked at closely at once."""
        spec = self._coarse_specs.get(model.stored.directory)
        return spec if spec is not None and may_look_coarsely(spec, options) and not is_suspect() else None

    async def _run(self, model: LoadedModel, rows: Rows, search: Search, lease: Lease) -> tuple[Found, BatchResult]:
        """A run of the model, and what was found by it."""
        deadline = deadline_after(self._settings.max_timeout)
        run = await model.run(rows, deadline, search.finish if search.ends_soon else None, apart=is_suspect())
        worked(run.row_seconds)
        done = run.finished
        return done if isinstance(done, Found) else await lease.run(self._pool, search.finish, run.outputs), run

    async def _cut_again(
        self, data: bytes, image: Outline, found: Detected, options: Options, eyes: Eyes, *, turn: Lease | None
    ) -> Detected:
        """Cuts the crops from a larger copy of the picture. Only its turn is held while it waits for room."""
        sides = [crop_side(face.box, options.crop_margin) for face in found.faces]
        reduction = reduction_for_crops(image, sides, options.crop_size)
        cost = image.costs[reduction]
        peak = cost.peak + (eyes.copies - 1) * cost.held
        async with self._budget.hold(max(peak, cost.held + options.crop_bytes), again=True, turn=turn) as lease:
            look = partial(eyes.decode, data, reduction, cost.peak)
            crops, seconds = await lease.run(eyes.pool, decode_and_cut, look, found.faces, options)
        return replace(found, crops=crops, decode_seconds=found.decode_seconds + seconds)


def to_message(face: DetectedFace) -> detector_pb2.Detection:
    """A face as the contract has it."""
    x_min, y_min, x_max, y_max = face.box.tolist()
    return detector_pb2.Detection(
        box=types_pb2.BoundingBox(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
        score=face.score,
        probabilities=() if face.probabilities is None else face.probabilities.tolist(),
    )
