"""One look for faces in a picture: what comes before the model's run and what comes after it, on whatever thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.detector.coarse import CoarseSpec, clear_faces
from services.detector.engine import DetectedFace, find_faces_in_views, prepare_images
from services.detector.letterbox import Geometry
from services.detector.options import Options
from services.detector.reduction import crops_lose_nothing
from services.detector.views import windows
from serving.images.crop import crop_side, cut_crops
from serving.images.decode import Picture
from serving.models.backends.base import Rows
from serving.models.batching.result import Outputs
from serving.repository.manifest import Manifest

Look = Callable[[], Picture]
"""Decodes a picture, perhaps in a smaller copy."""


_SOON_CROP_BYTES, _SOON_PICTURE_BYTES = 3 << 20, 16 << 20
"""Most of all crops as `Options.crop_bytes` counts them, and of the pixels that they are cut from, for which that is
done on the thread of the run. 64 faces of 64 pixels, which a request that says nothing asks for, are below."""


class Found(NamedTuple):
    """Faces that satisfy the options, and their crops where some were asked for and lose nothing by the reduction.

    enough: False where all was not clear in a first look, and the picture is to be looked at closely.
    """

    faces: list[DetectedFace]
    crops: npt.NDArray[np.uint8] | None
    enough: bool = True


class Search:
    """`prepare`, a run with the rows that it gives, `finish`.

    Attributes:
        picture: decoded; from `prepare` on.
        seconds: what decoding took; likewise.
    """

    picture: Picture
    seconds: float

    def __init__(
        self, look: Look, manifest: Manifest, options: Options, detail: int, coarse: CoarseSpec | None
    ) -> None:
        """
        Args:
            look: gives the picture.
            manifest: of the model.
            options: of the request.
            detail: tiles along the longer side; 1: there is no view but the whole picture.
            coarse: when a first look is enough; None: there is none.
        """
        self._look = look
        self._manifest = manifest
        self._options = options
        self._detail = detail
        self._coarse = coarse
        self._geometries: list[Geometry] = []

    def prepare(self) -> Rows:
        """Decodes the picture; the model's input made of it, a row for each view.

        Raises:
            ServiceError: as `decode_reduced`.
        """
        started = time.monotonic()
        self.picture = self._look()
        self.seconds = time.monotonic() - started
        return self.rows()

    def look_closely(self) -> None:
        """The first look was not enough: `rows`, a run with them and `finish` are the next."""
        self._coarse = None

    def rows(self) -> Rows:
        """The model's input of the decoded picture."""
        picture, coarse = self.picture, self._coarse
        height, width = picture.pixels.shape[:2]
        views = windows(width, height, self._detail)
        parts = [picture.pixels[y1:y2, x1:x2] for x1, y1, x2, y2 in views]
        frame = None if coarse is None else coarse.frame_of(width, height, self._manifest.input)
        rows, geometries = prepare_images(parts, self._manifest, frame)
        self._geometries = [
            geometry.within(picture.width, picture.height, picture.reduction, x, y)
            for geometry, (x, y, _, _) in zip(geometries, views, strict=True)
        ]
        return rows

    @property
    def ends_soon(self) -> bool:
        """Whether `finish` is for the thread of a run. Others wait for it, so it is to be short, and the picture small,
        since a caller who gives up just then cannot take it from there."""
        return self._options.crop_bytes <= _SOON_CROP_BYTES and self.picture.pixels.nbytes <= _SOON_PICTURE_BYTES

    def finish(self, outputs: Outputs) -> Found:
        """What the model has found."""
        options = self._options
        faces = self._faces(outputs[self._manifest.output.scores])
        if faces is None:
            return Found([], None, enough=False)
        sides = [crop_side(face.box, options.crop_margin) for face in faces]
        if not options.crop_size or not crops_lose_nothing(self.picture.reduction, sides, options.crop_size):
            return Found(faces, None)
        return Found(faces, _cut(self.picture, faces, options))

    def _faces(self, raw: npt.NDArray[np.float32]) -> list[DetectedFace] | None:
        """Those that satisfy the options; None: after a first look nobody can say."""
        options = self._options
        if self._coarse is None:
            limits = options.max_faces, options.min_score
            return find_faces_in_views(
                raw, self._geometries, self._manifest, *limits, min_face_size=options.min_face_size
            )
        sure = clear_faces(raw[0], self._geometries[0], self._manifest, self._coarse)
        if sure is None:
            return None
        least = options.min_score or 0
        return [f for f in sure if f.score >= least and f.side >= options.min_face_size][: options.max_faces]


def decode_and_cut(look: Look, faces: list[DetectedFace], options: Options) -> tuple[npt.NDArray[np.uint8], float]:
    """Crops of faces that are known, and the seconds that decoding took."""
    started = time.monotonic()
    picture = look()
    decoded = time.monotonic()
    return _cut(picture, faces, options), decoded - started


def _cut(picture: Picture, faces: list[DetectedFace], options: Options) -> npt.NDArray[np.uint8]:
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4) / np.float32(picture.reduction)
    return cut_crops(picture.pixels, boxes, options.crop_size, options.crop_margin)
