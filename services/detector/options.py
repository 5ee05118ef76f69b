"""How an image is to be looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ferry.v1 import detector_pb2
from serving.errors import InvalidArgumentError
from serving.faces import DEFAULT_MAX_FACES, MAX_DETAIL, MAX_FACES

MAX_CROP_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """A request's options, checked."""

    max_faces: int
    min_score: float | None
    min_face_size: float
    crop_size: int
    crop_margin: float
    detail: int

    @property
    def crop_bytes(self) -> int:
        """Most that the crops take: themselves, as tensor, and as message."""
        return 3 * self.max_faces * self.crop_size**2 * 3


def check_options(request: detector_pb2.DetectRequest) -> Options:
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
    if request.detail > MAX_DETAIL:
        raise InvalidArgumentError("detail", f"must be at most {MAX_DETAIL}")
    max_faces = request.max_faces or DEFAULT_MAX_FACES
    if max_faces * request.crop_size**2 * 3 > MAX_CROP_BYTES:
        raise InvalidArgumentError("crop_size", f"{max_faces} crops of that size exceed {MAX_CROP_BYTES >> 20} MiB")
    return Options(
        max_faces,
        request.min_score or None,
        request.min_face_size,
        request.crop_size,
        request.crop_margin,
        request.detail or 1,
    )
