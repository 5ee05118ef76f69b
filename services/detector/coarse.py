"""A first look at a smaller copy of a picture, for a quarter of the work: where all is clear, there is no second one.

All is clear where the detector is sure of one face at least and of all that might be one, and where none is small.
What that means in numbers was measured with the weights (`ferry models evaluate`), beside which `coarse.json` says it.
So a portrait takes the small look alone, and a crowd both. Boxes of large faces are no worse in the small copy: the
model has learnt them that size. As reduced precision does, this belongs to `--optimized`, and changes no digest.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from services.detector.engine import DetectedFace, find_faces
from services.detector.letterbox import Geometry, smallest_frame
from services.detector.options import Options
from serving.faces import MAX_FACES
from serving.frozen import Frozen
from serving.repository.manifest import Finite, InputSpec, Manifest

log = logging.getLogger(__name__)

FILE = "coarse.json"
STRIDE = 32
"""Input pixels of a cell of YOLO's coarsest grid: a frame's sides are multiples of it."""
_MOST_BYTES = 1 << 16


class CoarseSpec(Frozen):
    """When a look at a smaller copy of a picture is enough."""

    digest: str = Field(pattern="^[0-9a-f]{64}$", description="of the version that this was measured with")
    scale: Annotated[Finite, Field(ge=0.1, le=0.9)] = Field(description="sides of the copy, as a share of the frame's")
    unsure: Annotated[Finite, Field(gt=0, lt=1)] = Field(description="from this score on something may be a face")
    sure: Annotated[Finite, Field(gt=0, le=1)] = Field(description="from this score on it is one; one must be there")
    least_face: Annotated[Finite, Field(ge=1)] = Field(description="longer side of the smallest, pixels of the copy")

    def smaller(self, frame: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the copy's frame, for a picture that belongs into this one."""
        width, height = (STRIDE * math.ceil(side * self.scale / STRIDE) for side in frame)
        return width, height

    def frame_of(self, width: int, height: int, spec: InputSpec) -> tuple[int, int]:
        """The same for a picture of that size, in pixels."""
        return self.smaller(smallest_frame([(width, height)], spec))

    def frames(self, spec: InputSpec) -> tuple[tuple[int, int], ...]:
        """Every one that there can be."""
        return tuple(dict.fromkeys(map(self.smaller, spec.frames)))


def read_coarse(directory: Path, manifest: Manifest) -> CoarseSpec | None:
    """What lies beside a version; None: nothing, or, with a line in the log, what is not for it.

    Args:
        directory: of the version.
        manifest: its.
    """
    path = directory / FILE
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        spec = CoarseSpec.model_validate_json(path.read_bytes())
        _check(spec, manifest)
    except (OSError, ValueError) as error:
        log.warning("%s is left out, and pictures are looked at closely at once: %s", path, error)
        return None
    return spec


def _check(spec: CoarseSpec, manifest: Manifest) -> None:
    """
    Raises:
        ValueError: it was measured with another version, or makes no sense with this one.
    """
    if spec.digest != manifest.digest:
        raise ValueError(f"it was measured with {spec.digest[:12]}, and this is {manifest.digest[:12]}")
    if manifest.detection is None or not manifest.input.sides:
        raise ValueError("the model is no detector that takes other sizes (input.sides)")
    if not spec.unsure <= manifest.detection.score_threshold <= spec.sure:
        raise ValueError(f"the threshold of {manifest.detection.score_threshold:g} is not between unsure and sure")
    for frame in manifest.input.frames:
        if math.prod(spec.smaller(frame)) >= math.prod(frame):
            raise ValueError(f"at a scale of {spec.scale:g} the copy for {frame[0]} x {frame[1]} is no smaller")


def may_look_coarsely(spec: CoarseSpec, options: Options) -> bool:
    """Whether a request is content with it: not who asks for `detail`, or for what is hardly a face."""
    return options.detail == 1 and (options.min_score is None or options.min_score >= spec.unsure)


def clear_faces(
    raw: npt.NDArray[np.float32], geometry: Geometry, manifest: Manifest, spec: CoarseSpec
) -> list[DetectedFace] | None:
    """The faces of an image after its first look, surest first; none is there that the detector is not sure of.

    Args:
        raw: float32 [4 + labels, anchors], the image's row of the model's output.
        geometry: where it lies in the frame of that look.
        manifest: of the detector.
        spec: when the look is enough.

    Returns:
        None where it is not: the image is to be looked at closely.
    """
    faces = find_faces(raw, geometry, manifest, MAX_FACES, spec.unsure)
    if not faces or faces[-1].score < spec.sure or len(faces) == MAX_FACES:
        return None
    smallest = min(face.side for face in faces)
    return faces if smallest * min(geometry.scale_x, geometry.scale_y) >= spec.least_face else None
