"""Detectors by the Open Inference Protocol: encoded images in; boxes, scores, opinions and crops out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ferry.v1 import detector_pb2
from services.detector.detected import Detected
from services.detector.engine import DetectedFace
from services.detector.options import MAX_CROP_BYTES, Options, check_options
from serving.errors import InvalidArgumentError
from serving.expressions import EXPRESSIONS
from serving.inference_v2.arrays import from_array
from serving.inference_v2.hosted import HostedModels, Signature, about
from serving.inference_v2.many import check_count, each
from serving.inference_v2.model import Parameter, Query, Reply
from serving.inference_v2.tensor import BYTES, TensorSpec
from serving.models.host import ModelHost
from serving.repository.manifest import Manifest

IMAGE: Final = "image"
MAX_IMAGES: Final = 16
"""Of one question; they are worked on side by side."""
_PARAMETERS: Final[Mapping[str, type[Parameter]]] = {
    "max_faces": int,
    "min_score": float,
    "min_face_size": float,
    "crop_size": int,
    "crop_margin": float,
    "detail": int,
}
_SIGNATURE: Final = Signature(
    (TensorSpec(IMAGE, BYTES, (-1,)),),
    (
        TensorSpec("image_index", "INT32", (-1,)),
        TensorSpec("boxes", "FP32", (-1, 4)),
        TensorSpec("scores", "FP32", (-1,)),
        TensorSpec("probabilities", "FP32", (-1, len(EXPRESSIONS))),
        TensorSpec("crops", "UINT8", (-1, -1, -1, 3)),
        TensorSpec("image_sizes", "INT32", (-1, 2)),
    ),
    _PARAMETERS,
)


class Detect(Protocol):
    """As DetectorService.detect."""

    async def __call__(self, image: bytes, name: str, version: str, options: Options) -> Detected: ...


class DetectorModels(HostedModels):
    """Those of a detector."""

    def __init__(self, host: ModelHost, detect: Detect) -> None:
        """
        Args:
            host: of the models.
            detect: asks one of them.
        """
        super().__init__(host)
        self._detect = detect

    def signature(self, manifest: Manifest) -> Signature:
        return _SIGNATURE

    async def infer(self, query: Query) -> Reply:
        images = query.inputs[IMAGE].items
        check_count(IMAGE, len(images), MAX_IMAGES)
        options = _options(query.parameters, len(images))
        found = await each(IMAGE, images, partial(self._ask, query, options))
        model = found[0].model
        said = about(model, max(one.queue_seconds for one in found), max(one.compute_seconds for one in found))
        return Reply(model.name, model.version, _outputs(found, options), said)

    async def _ask(self, query: Query, options: Options, _: int, image: bytes) -> Detected:
        return await self._detect(image, query.name, query.version, options)


def _options(given: Mapping[str, Parameter], images: int) -> Options:
    """
    Raises:
        InvalidArgumentError: one is out of its range.
    """
    request = detector_pb2.DetectRequest()
    for name, value in given.items():
        try:
            setattr(request, name, value)
        except ValueError as error:
            raise InvalidArgumentError(f"parameters[{name}]", f"{value} is out of its range") from error
    try:
        options = check_options(request)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"parameters[{error.field}]", error.description) from error
    if images * options.max_faces * options.crop_size**2 * 3 > MAX_CROP_BYTES:
        most = f"{images} image(s) of {options.max_faces} faces"
        raise InvalidArgumentError("parameters[crop_size]", f"crops of {most} exceed {MAX_CROP_BYTES >> 20} MiB")
    return options


def _outputs(found: Sequence[Detected], options: Options) -> tuple[Any, ...]:
    faces = [face for one in found for face in one.faces]
    index = np.repeat(np.arange(len(found), dtype=np.int32), [len(one.faces) for one in found])
    side = options.crop_size
    crops = [one.crops for one in found if one.crops is not None]
    return (
        from_array("image_index", index),
        from_array("boxes", np.array([face.box for face in faces], np.float32).reshape(-1, 4)),
        from_array("scores", np.array([face.score for face in faces], np.float32)),
        from_array("probabilities", np.array(list(map(_opinion, faces)), np.float32).reshape(-1, len(EXPRESSIONS))),
        from_array("crops", np.concatenate(crops) if crops else np.empty((len(faces), side, side, 3), np.uint8)),
        from_array("image_sizes", np.array([(one.size.width, one.size.height) for one in found], np.int32)),
    )


def _opinion(face: DetectedFace) -> npt.NDArray[np.float32]:
    """NaN where there is none."""
    return np.full(len(EXPRESSIONS), np.nan, np.float32) if face.probabilities is None else face.probabilities
