"""The detector as a service: decode once, find faces, cut crops."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from ferry.v1 import detector_pb2, detector_pb2_grpc, types_pb2
from services.detector.engine import DetectedFace, find_faces, prepare_images
from services.detector.letterbox import Geometry
from services.detector.settings import DetectorSettings
from serving.budget import Budget
from serving.errors import InvalidArgumentError
from serving.faces import DEFAULT_MAX_FACES, MAX_FACES
from serving.images.crop import cut_crops
from serving.images.decode import decode
from serving.images.header import read_header
from serving.models.service import ModelService
from serving.repository.manifest import Manifest, Task
from serving.repository.policy import parse_policies
from serving.rpc.context import deadline_after
from serving.tensors import to_tensor

MAX_CROP_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class _Options:
    """A request's options, checked."""

    max_faces: int
    min_score: float | None
    min_face_size: float
    crop_size: int
    crop_margin: float


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    image: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.float32]
    geometry: Geometry
    decode_seconds: float


class DetectorService(ModelService, detector_pb2_grpc.DetectorServicer):
    """Serves ferry.v1.Detector."""

    name = "detector"
    grpc_services = ("ferry.v1.Detector",)

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__(settings, parse_policies(settings.model), Task.DETECT)
        self._settings = settings
        self._pixels = Budget(int(settings.pixel_budget * 1e6), settings.max_queue, "images")

    def register(self, server: grpc.aio.Server) -> None:
        detector_pb2_grpc.add_DetectorServicer_to_server(self, server)

    async def Detect(  # noqa: N802
        self,
        request: detector_pb2.DetectRequest,
        context: grpc.aio.ServicerContext[detector_pb2.DetectRequest, detector_pb2.DetectResponse],
    ) -> detector_pb2.DetectResponse:
        options = _check(request)
        if len(request.image) > self._settings.max_image_bytes:
            limit = self._settings.max_image_bytes
            raise InvalidArgumentError("image", f"has {len(request.image)} bytes, more than {limit}")
        header = read_header(request.image, self._settings.max_megapixels)
        loop = asyncio.get_running_loop()
        with self._host.use(request.model_name, request.model_version) as model:
            async with self._pixels.hold(header.width * header.height):
                prepared = await loop.run_in_executor(self._pool, self._prepare, request.image, model.manifest)
                run = await model.batcher.submit(prepared.rows, deadline_after(self._settings.max_timeout))
                raw = run.outputs[model.manifest.output.scores][0]
                faces, crops = await loop.run_in_executor(self._pool, _finish, prepared, raw, model.manifest, options)
            height, width = prepared.image.shape[:2]
            return detector_pb2.DetectResponse(
                detections=[_to_message(face) for face in faces],
                crops=None if crops is None else to_tensor(crops),
                image_size=types_pb2.ImageSize(width=width, height=height),
                model=model.version(),
                decode_ms=prepared.decode_seconds * 1000,
                queue_ms=run.queue_seconds * 1000,
                compute_ms=run.compute_seconds * 1000,
                load_failure=self._host.load_failure(model.manifest.name),
            )

    def _prepare(self, data: bytes, manifest: Manifest) -> _Prepared:
        started = time.monotonic()
        image = decode(data, self._settings.max_megapixels)
        decoded = time.monotonic()
        rows, (geometry,) = prepare_images([image], manifest)
        return _Prepared(image, rows, geometry, decoded - started)


def _check(request: detector_pb2.DetectRequest) -> _Options:
    """The options, with defaults in place of zeros.

    Raises:
        InvalidArgumentError: one is out of its range.
    """
    if request.max_faces > MAX_FACES:
        raise InvalidArgumentError("max_faces", f"must be at most {MAX_FACES}")
    if not 0 <= request.min_score <= 1:
        raise InvalidArgumentError("min_score", "must be in [0, 1]")
    if not (request.min_face_size >= 0 and math.isfinite(request.min_face_size)):
        raise InvalidArgumentError("min_face_size", "must be 0 or more pixels")
    if request.crop_size and not 8 <= request.crop_size <= 512:
        raise InvalidArgumentError("crop_size", "must be 0 or 8 to 512 pixels")
    # In single precision -0.4 is a little less than -0.4.
    if not -0.4 - 1e-6 <= request.crop_margin <= 1:
        raise InvalidArgumentError("crop_margin", "must be in [-0.4, 1]")
    max_faces = request.max_faces or DEFAULT_MAX_FACES
    if max_faces * request.crop_size**2 * 3 > MAX_CROP_BYTES:
        raise InvalidArgumentError("crop_size", f"{max_faces} crops of that size exceed {MAX_CROP_BYTES >> 20} MiB")
    return _Options(max_faces, request.min_score or None, request.min_face_size, request.crop_size, request.crop_margin)


def _finish(
    prepared: _Prepared, raw: npt.NDArray[np.float32], manifest: Manifest, options: _Options
) -> tuple[list[DetectedFace], npt.NDArray[np.uint8] | None]:
    """Faces that satisfy the options, and their crops where some were asked for."""
    found = find_faces(raw, prepared.geometry, manifest, options.max_faces, options.min_score)
    faces = [face for face in found if float(max(face.box[2:] - face.box[:2])) >= options.min_face_size]
    if not options.crop_size:
        return faces, None
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
    return faces, cut_crops(prepared.image, boxes, options.crop_size, options.crop_margin)


def _to_message(face: DetectedFace) -> detector_pb2.Detection:
    x_min, y_min, x_max, y_max = face.box.tolist()
    return detector_pb2.Detection(
        box=types_pb2.BoundingBox(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
        score=face.score,
        probabilities=() if face.probabilities is None else face.probabilities.tolist(),
    )
