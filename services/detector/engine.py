"""From pixels to faces around one run of the model: input tensors before it, faces after it. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.detector.decode import MAX_CANDIDATES, Candidates, decode
from services.detector.letterbox import Geometry, letterbox_into, smallest_frame
from services.detector.nms import suppress
from serving.faces import DEFAULT_MAX_FACES
from serving.models.backends.base import Rows
from serving.preprocess import encode, to_grey
from serving.repository.manifest import Color, DetectionSpec, Manifest

EDGE = 0.01
"""Boxes that come as near to the edge of a tile, as a share of its side, are taken to be cut by it."""
MIN_FACE_SIDE = 1.0
"""Boxes thinner than this many pixels of the image, after clipping to it, are no faces."""


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face: box float32 [4] (x1, y1, x2, y2, pixels of the upright image, inside it), score in (0, 1].

    probabilities: float32 [7] in Ferry's order, sums to 1; None if the model has no opinion on expression.
    """

    box: npt.NDArray[np.float32]
    score: float
    probabilities: npt.NDArray[np.float32] | None

    @property
    def side(self) -> float:
        """The longer one, pixels of the image."""
        return float((self.box[2:] - self.box[:2]).max())


def prepare_images(
    images: Sequence[npt.NDArray[np.uint8]], manifest: Manifest, frame: tuple[int, int] | None = None
) -> tuple[Rows, list[Geometry]]:
    """Input for one run over several images of any size.

    Args:
        images: uint8 [height, width, 3] each, RGB, upright.
        manifest: of the detector.
        frame: width and height in which they are put; None: the smallest of the manifest's that does for all of them.

    Returns:
        One row for each as the manifest's input says, and one geometry for each, for `find_faces`.

    Raises:
        ValueError: an image is not uint8 [height, width, 3].
    """
    spec = manifest.input
    width, height = frame or smallest_frame([(image.shape[1], image.shape[0]) for image in images if image.size], spec)
    frames = np.empty((len(images), height, width, 3), np.uint8)
    geometries = [letterbox_into(frame, image, spec.resize) for frame, image in zip(frames, images, strict=True)]
    pixels = to_grey(frames)[..., None] if spec.color is Color.GREY else frames
    return encode(pixels, spec), geometries


def find_faces(
    raw: npt.NDArray[np.float32],
    geometry: Geometry,
    manifest: Manifest,
    max_faces: int = DEFAULT_MAX_FACES,
    score_threshold: float | None = None,
    *,
    min_face_size: float = 0.0,
) -> list[DetectedFace]:
    """Faces of one image, surest first.

    Args:
        raw: float32 [4 + labels, anchors], this image's row of the model's output.
        geometry: what `prepare_images` gave for it.
        manifest: of the detector.
        max_faces: at most this many are returned, the surest of those that are large enough.
        score_threshold: in place of the manifest's, in (0, 1].
        min_face_size: boxes whose longer side is less, in pixels of the image, are left out.

    Raises:
        ValueError: the output's shape does not fit the manifest.
    """
    limits = (max_faces, score_threshold)
    return find_faces_in_views(raw[None], [geometry], manifest, *limits, min_face_size=min_face_size)


def find_faces_in_views(
    raw: npt.NDArray[np.float32],
    geometries: Sequence[Geometry],
    manifest: Manifest,
    max_faces: int = 64,
    score_threshold: float | None = None,
    *,
    min_face_size: float = 0.0,
) -> list[DetectedFace]:
    """Faces of one image that was looked at in several views: as `find_faces`, each face once.

    Args:
        raw: float32 [views, 4 + labels, anchors].
        geometries: of the views; the first one is of the whole image.
    """
    rules = manifest.detection or DetectionSpec()
    threshold = rules.score_threshold if score_threshold is None else score_threshold
    views = [
        _in_view(decode(row, manifest, threshold), geometry, geometries[0])
        for row, geometry in zip(raw, geometries, strict=True)
    ]
    scores = np.concatenate([found.scores for found in views])
    surest = np.argsort(-scores, kind="stable")[: 2 * MAX_CANDIDATES]
    boxes = np.concatenate([found.boxes for found in views])[surest]
    probabilities, scores = np.concatenate([found.probabilities for found in views])[surest], scores[surest]
    sides = boxes[:, 2:] - boxes[:, :2]
    solid = np.flatnonzero((sides >= MIN_FACE_SIDE).all(axis=1))
    # Small faces take nobody's place; yet they suppress their own doubles, which may be a little larger.
    limit = len(solid) if min_face_size > 0 else max_faces
    kept = solid[suppress(boxes[solid], scores[solid], rules.iou_threshold, limit)]
    faces = []
    for i in kept[sides[kept].max(axis=1, initial=0) >= min_face_size][:max_faces]:
        opinion = probabilities[i]
        faces.append(DetectedFace(boxes[i], float(scores[i]), opinion if np.isfinite(opinion).all() else None))
    return faces


def _in_view(found: Candidates, view: Geometry, whole: Geometry) -> Candidates:
    """Candidates in pixels of the image, without those that the edge of a tile cuts: its neighbour sees them whole."""
    boxes = view.to_image(found.boxes)
    start = np.array([view.left, view.top], np.float32)
    end = start + np.array([view.width, view.height], np.float32)
    size = np.array([whole.width, whole.height], np.float32)
    near = EDGE * max(view.width, view.height)
    cut = ((start > 0) & (boxes[:, :2] < start + near)) | ((end < size) & (boxes[:, 2:] > end - near))
    inside = ~cut.any(axis=1)
    return Candidates(boxes[inside], found.scores[inside], found.probabilities[inside])
