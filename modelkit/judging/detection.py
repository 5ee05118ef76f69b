"""Judges a published detector through the code that serves it: faces in photos, and its opinion on expression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelkit.data.corrections import CORRECTIONS, corrected
from modelkit.data.expressions import ExpressionSet
from modelkit.data.framing import box_of_crop
from modelkit.data.photos import Photo, read_photos
from modelkit.detector.yunet import YuNet
from modelkit.judging.figures import by_size
from modelkit.judging.metrics import expression_metrics
from modelkit.judging.pictures import spread
from services.detector.coarse import CoarseSpec, clear_faces, read_coarse
from services.detector.engine import DetectedFace, find_faces, prepare_images
from services.detector.letterbox import PAD_VALUE, smallest_frame
from services.detector.nms import iou
from serving.expressions import EXPRESSIONS
from serving.faces import DEFAULT_MAX_FACES
from serving.models.backends import Backend, load_backend
from serving.repository.manifest import DetectionSpec, Manifest

MATCH_IOU = 0.5
MIN_FACE = 24.0
"""Ground-truth faces whose longer side is shorter than this (pixels) count neither as found nor as missed."""

LEAST_SCORE = 0.02
"""Smallest score that an average precision goes down to."""

BATCH = 4
CELLS = 4
CELL_FILL = 0.6
"""Crops are judged on a canvas of CELLS x CELLS of them, each this share of its cell wide."""

Crops = Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Detector:
    """A loaded detector: backend, manifest, and when a first look is enough (None: never)."""

    backend: Backend
    manifest: Manifest
    coarse: CoarseSpec | None = None

    @classmethod
    def load(cls, directory: Path, threads: int = 1) -> Detector:
        """Loads the default variant of a model directory."""
        manifest = Manifest.read(directory)
        backend = load_backend(directory / manifest.variants["default"], threads=threads)
        return cls(backend, manifest, read_coarse(directory, manifest))

    def detect(
        self,
        images: list[npt.NDArray[np.uint8]],
        max_faces: int = DEFAULT_MAX_FACES,
        score_threshold: float | None = None,
    ) -> Iterator[list[DetectedFace]]:
        """Faces of each image (uint8 [H, W, 3], RGB), surest first, each in the frame that it has in serving."""
        for image in images:
            rows, (geometry,) = prepare_images([image], self.manifest)
            (raw,) = self.backend.run(rows)[self.manifest.output.scores]
            yield find_faces(raw, geometry, self.manifest, max_faces, score_threshold)

    def look_first(self, image: npt.NDArray[np.uint8]) -> list[DetectedFace] | None:
        """Faces of an image (uint8 [H, W, 3], RGB) by a first look alone; None where that is not enough."""
        if self.coarse is None:
            return None
        frame = self.coarse.frame_of(image.shape[1], image.shape[0], self.manifest.input)
        rows, (geometry,) = prepare_images([image], self.manifest, frame)
        (raw,) = self.backend.run(rows)[self.manifest.output.scores]
        return clear_faces(raw, geometry, self.manifest, self.coarse)


@dataclass(frozen=True)
class Matches:
    """Detections of a set of photos against its ground truth.

    Attributes:
        scores: float [D], of every detection that counts.
        hits: bool [D], whether it is a face.
        sizes: float [F], longer side of every ground-truth face that counts, pixels.
        found_at: float [F], score of the detection that found it; NaN where none did.
    """

    scores: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.float64]
    found_at: npt.NDArray[np.float64]

    @property
    def n_faces(self) -> int:
        return len(self.sizes)

    @property
    def recall(self) -> float:
        return float(self.hits.sum() / max(self.n_faces, 1))

    @property
    def precision(self) -> float:
        return float(self.hits.mean()) if len(self.hits) else 0.0

    @property
    def average_precision(self) -> float:
        """Area under precision over recall, at every recall the best precision from there on (VOC, all points)."""
        hits = self.hits[np.argsort(-self.scores, kind="stable")]
        precision = np.maximum.accumulate((np.cumsum(hits) / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float(precision[hits].sum() / max(self.n_faces, 1))

    @property
    def recall_by_size(self) -> dict[str, float]:
        """Recall by the groups of `modelkit.judging.figures.by_size` that occur."""
        found = np.isfinite(self.found_at)
        return {name: float(found[mask].mean()) for name, mask in by_size(self.sizes.astype(np.float32)).items()}

    def at_precision(self, least: float) -> Matches:
        """What is left at the lowest score from which on the precision is `least` (0..1); nothing, if it never is."""
        order = np.argsort(-self.scores, kind="stable")
        precision = np.cumsum(self.hits[order]) / np.arange(1, len(order) + 1)
        enough = np.flatnonzero(precision >= least)
        return self.at_least(float(self.scores[order][enough[-1]]) if len(enough) else np.inf)

    def at_least(self, score: float) -> Matches:
        """What is left where detections below a score are not made: a surer one never depends on them."""
        sure = self.scores >= score
        found_at = np.where(self.found_at >= score, self.found_at, np.nan)
        return Matches(self.scores[sure], self.hits[sure], self.sizes, found_at)


def match(
    faces: list[DetectedFace],
    truth: npt.NDArray[np.float32],
    unclear: npt.NDArray[np.float32] | None = None,
    least: float = MIN_FACE,
) -> Matches:
    """Matches one photo's faces, surest first, each to the free ground-truth face it overlaps most.

    A detection that matches no face that counts is left out if it overlaps one too small to count.

    Args:
        faces: what was found.
        truth: float32 [N, 4], the labelled boxes.
        unclear: float32 [M, 4], places where nobody can say whether there is a face; neither found nor missed.
        least: longer side in pixels from which a face counts.
    """
    sizes = (truth[:, 2:] - truth[:, :2]).max(axis=1, initial=0)
    counts = sizes >= least
    sizes = sizes[counts].astype(np.float64)
    if unclear is not None:
        truth = np.concatenate([truth, unclear])
        counts = np.concatenate([counts, np.zeros(len(unclear), bool)])
    free = counts.copy()
    scores, hits, found_at = [], [], np.full(len(truth), np.nan)
    for face in faces:
        overlaps = iou(face.box, truth)
        candidates = np.where(free, overlaps, 0.0)
        best = int(candidates.argmax()) if len(truth) else -1
        hit = best >= 0 and candidates[best] >= MATCH_IOU
        if hit:
            free[best], found_at[best] = False, face.score
        elif (overlaps[~counts] >= MATCH_IOU).any():
            continue
        scores.append(face.score)
        hits.append(hit)
    return Matches(np.array(scores, np.float64), np.array(hits, bool), sizes, found_at[counts])


def match_all(detector: Detector, photos: Sequence[Photo], score_threshold: float | None = None) -> Matches:
    """Runs the detector over photos, a few at a time, and matches everything it finds.

    Args:
        detector: a loaded detector.
        photos: with the boxes that are true.
        score_threshold: in place of the manifest's.
    """
    parts = []
    for start in range(0, len(photos), BATCH):
        some = photos[start : start + BATCH]
        images = [np.asarray(photo.image()) for photo in some]
        found = detector.detect(images, score_threshold=score_threshold)
        parts += [match(faces, photo.boxes, photo.unclear) for faces, photo in zip(found, some, strict=True)]
    return _together(parts)


def match_yunet(file: Path, photos: Sequence[Photo], threads: int = 1) -> Matches:
    """What YuNet finds in photos, from `LEAST_SCORE` on: a detector trained elsewhere, to compare with.

    Args:
        file: its ONNX file, see `modelkit.detector.yunet`.
        photos: with the boxes that are true.
        threads: of the runtime.
    """
    finder, parts = YuNet(file, threads), []
    for photo in photos:
        boxes, scores = finder.find(np.asarray(photo.image()), LEAST_SCORE)
        faces = [DetectedFace(box, float(score), None) for box, score in zip(boxes, scores, strict=True)]
        parts.append(match(faces, photo.boxes, photo.unclear))
    return _together(parts)


def match_coarsely(detector: Detector, photos: Sequence[Photo], score_threshold: float) -> tuple[Matches, float, float]:
    """As `match_all`, where a first look at a smaller copy may be enough (`services.detector.coarse`).

    Returns:
        The matches, the share of photos whose first look was enough, and the pixels that the model saw, as a share of
        those that it sees without first looks.
    """
    parts, clear, seen, usual = [], 0, 0, 0
    for photo in photos:
        image = np.asarray(photo.image())
        whole = math.prod(smallest_frame([(image.shape[1], image.shape[0])], detector.manifest.input))
        usual += whole
        if detector.coarse is not None:
            seen += math.prod(detector.coarse.frame_of(image.shape[1], image.shape[0], detector.manifest.input))
        faces = detector.look_first(image)
        clear += faces is not None
        if faces is None:
            seen += whole
            (faces,) = detector.detect([image], score_threshold=score_threshold)
        parts.append(match(faces, photo.boxes, photo.unclear))
    return _together(parts), clear / max(len(photos), 1), seen / max(usual, 1)


def _together(parts: Sequence[Matches]) -> Matches:
    empty = np.empty(0)
    return Matches(
        np.concatenate([empty, *(part.scores for part in parts)]),
        np.concatenate([empty.astype(bool), *(part.hits for part in parts)]),
        np.concatenate([empty, *(part.sizes for part in parts)]),
        np.concatenate([empty, *(part.found_at for part in parts)]),
    )


def evaluate_detector(
    model_dir: Path,
    faces_parquet: Path | None,
    fer: ExpressionSet | None = None,
    threads: int = 1,
    *,
    corrections: Path | None = CORRECTIONS,
    harder: bool = False,
    limit: int | None = None,
    yunet: Path | None = None,
) -> dict[str, Any]:
    """Figures of a detector.

    Args:
        model_dir: `models/<name>/<version>`.
        faces_parquet: photos with boxes; None leaves recall and precision out.
        fer: labelled expression crops; None leaves the expression figures out. A crop in which the detector finds
            no face counts as wrong.
        threads: of the model's runtime.
        corrections: list of what is wrong with the photos' labels, see `modelkit.data.corrections`; None: they are
            taken as they are.
        harder: see `modelkit.judging.harder_photos.judge_harder`.
        limit: photos, evenly spread over all; None: all.
        yunet: its ONNX file; None: it is not compared with.

    Returns:
        model, version; with photos n (photos), n_faces, recall, precision, average_precision (over all scores from
        `LEAST_SCORE`), recall_by_size, iou, min_face, corrected (photos that the list corrects), coarse where it has
        first looks (recall and precision with first looks at a smaller copy, clear and pixels as shares, see
        `match_coarsely`), harder_photos where they were asked for, and yunet (its recall, precision and
        average_precision, at the lowest score where it is no less precise than the detector); with crops accuracy,
        macro_f1, ece, per_class (recall by expression), n_crops and found (share of crops with a face).

    Raises:
        DataError: photos or corrections cannot be read, or do not fit each other.
    """
    detector = Detector.load(model_dir, threads)
    report: dict[str, Any] = {"model": detector.manifest.name, "version": detector.manifest.version}
    if faces_parquet is not None:
        spec = detector.manifest.detection or DetectionSpec()
        photos = read_photos([faces_parquet])
        photos = [photos[i] for i in spread(len(photos), limit)]
        labelled, photos = photos, photos if corrections is None else corrected(photos, corrections)
        everything = match_all(detector, photos, min(LEAST_SCORE, spec.score_threshold))
        matches = everything.at_least(spec.score_threshold)
        report |= {
            "n": len(photos),
            "corrected": sum(old is not new for old, new in zip(labelled, photos, strict=True)),
            "recall": matches.recall,
            "precision": matches.precision,
            "average_precision": everything.average_precision,
            "recall_by_size": matches.recall_by_size,
            "iou": MATCH_IOU,
            "min_face": MIN_FACE,
            "n_faces": matches.n_faces,
        }
        if detector.coarse is not None:
            found, clear, pixels = match_coarsely(detector, photos, spec.score_threshold)
            report["coarse"] = {"recall": found.recall, "precision": found.precision, "clear": clear, "pixels": pixels}
        if yunet is not None:
            theirs = match_yunet(yunet, photos, threads)
            alike = theirs.at_precision(matches.precision)
            report["yunet"] = {
                "recall": alike.recall,
                "precision": alike.precision,
                "average_precision": theirs.average_precision,
            }
        if harder:
            from modelkit.judging.harder_photos import judge_harder

            report["harder_photos"] = judge_harder(detector, photos)
    if fer is not None and detector.manifest.has_expressions:
        probabilities = crop_probabilities(detector, fer.images)
        report |= expression_metrics(probabilities, fer.labels)
        report |= {"n_crops": len(fer), "found": float(np.isfinite(probabilities).all(1).mean())}
    return report


def detector_probabilities(model_dir: Path, images: npt.NDArray[np.uint8], threads: int = 1) -> npt.NDArray[np.float32]:
    """The detector's opinion on grey crops (uint8 [N, 48, 48]): float32 [N, 7], NaN rows where it finds no face."""
    return crop_probabilities(Detector.load(model_dir, threads), images)


def crop_probabilities(
    detector: Detector, images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Lays crops out on canvases of the model's input size and reads each cell's face.

    Args:
        detector: a loaded detector.
        images: N of them, each uint8 [H, W], grey, or uint8 [H, W, 3], RGB; of any size.

    Returns:
        float32 [N, 7]; a cell's answer is that of the face that overlaps the crop's face box most (IoU over 0.3),
        NaN where there is none.
    """
    answers = np.full((len(images), len(EXPRESSIONS)), np.nan, np.float32)
    side = min(detector.manifest.input.width, detector.manifest.input.height)
    cell = side // CELLS
    face = round(cell * CELL_FILL)
    for start in range(0, len(images), CELLS * CELLS * BATCH):
        block = images[start : start + CELLS * CELLS * BATCH]
        canvases = [_sheet(block[i : i + CELLS * CELLS], side, cell, face) for i in range(0, len(block), CELLS * CELLS)]
        for sheet, faces in enumerate(detector.detect(canvases, max_faces=4 * CELLS * CELLS)):
            boxes = np.array([found.box for found in faces], np.float32).reshape(-1, 4)
            for place in range(min(CELLS * CELLS, len(block) - sheet * CELLS * CELLS)):
                overlaps = iou(box_of_crop(*_corner(place, cell, face), face), boxes)
                if len(overlaps) and overlaps.max() > 0.3:
                    opinion = faces[int(overlaps.argmax())].probabilities
                    if opinion is not None:
                        answers[start + sheet * CELLS * CELLS + place] = opinion
    return answers


def _corner(place: int, cell: int, face: int) -> tuple[int, int]:
    row, column = divmod(place, CELLS)
    return column * cell + (cell - face) // 2, row * cell + (cell - face) // 2


def _sheet(
    crops: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8], side: int, cell: int, face: int
) -> npt.NDArray[np.uint8]:
    canvas = np.full((side, side, 3), PAD_VALUE, np.uint8)
    for place, crop in enumerate(crops):
        left, top = _corner(place, cell, face)
        enlarged = np.asarray(Image.fromarray(crop).resize((face, face), Image.Resampling.BILINEAR))
        canvas[top : top + face, left : left + face] = enlarged if enlarged.ndim == 3 else enlarged[..., None]
    return canvas
