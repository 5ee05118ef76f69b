"""Draws the detector's training batches: photos with swapped faces, new faces on negatives, and sheets of crops.

Every batch is a pure function of (material, seed, step), so an interrupted run continues with the same pictures.
A face's class is drawn from its soft distribution each time it is seen: the expectation of the binary cross-entropy
is that of soft labels, and the loss needs no change.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from modelkit.detector.composites import paste_face, replace_face
from modelkit.detector.material import Material
from serving.expressions import EXPRESSIONS
from serving.preprocess import to_grey

PAD = 114
KINDS = {"photo": 0.6, "negative": 0.25, "sheet": 0.15}
"""Shares of the three kinds of picture."""

SWAPPED = 0.2
"""Share of the photographed faces that get a crop of known expression blended over them."""

PASTED = 0.3
"""Share of the photos without faces that get new ones pasted; the others teach what is no face."""

LABEL_TRUST = 0.95
"""A crop's label is drawn with this probability, the other expressions share the rest (label smoothing)."""

BATCHES = ((320, 21), (416, 12), (512, 8))
"""(input side in pixels, images): about the same amount of work each."""


@dataclass(frozen=True)
class Batch:
    """images: uint8 [B, S, S, 3]; per face: image index int64 [F], class int64 [F], box float32 [F, 4] in pixels."""

    images: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]


class Sampler:
    """Draws batches from `material`."""

    def __init__(self, material: Material, seed: int) -> None:
        self._m = material
        self._seed = seed
        self._faces = material.with_faces
        self._negatives = material.without_faces
        n = len(EXPRESSIONS)
        self._smooth = np.full((n, n), (1 - LABEL_TRUST) / (n - 1), np.float32)
        np.fill_diagonal(self._smooth, LABEL_TRUST)

    def batch(self, step: int) -> Batch:
        """The batch of that step; the same for the same seed."""
        rng = np.random.default_rng((self._seed, step))
        side, count = BATCHES[int(rng.integers(len(BATCHES)))]
        images = np.empty((count, side, side, 3), np.uint8)
        index, classes, boxes = [], [], []
        for i in range(count):
            images[i], image_boxes, image_classes = self.sample(side, rng)
            index += [i] * len(image_boxes)
            classes.append(image_classes)
            boxes.append(image_boxes)
        return Batch(images, np.array(index, np.int64), np.concatenate(classes), np.concatenate(boxes))

    def sample(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """One picture: uint8 [side, side, 3], float32 [F, 4] boxes in its pixels, int64 [F] classes."""
        kind = rng.choice(list(KINDS), p=list(KINDS.values()))
        if kind == "photo":
            canvas, boxes, soft = self._photo(side, rng)
        elif kind == "negative":
            canvas, boxes, soft = self._negative(side, rng)
        else:
            canvas, boxes, soft = self._sheet(side, rng)
        canvas, boxes = finish(canvas, boxes, rng)
        return canvas, boxes, draw_classes(soft, rng)

    def _photo(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        which = self._faces[int(rng.integers(len(self._faces)))]
        photo = self._m.photos[which]
        centre = photo.boxes[int(rng.integers(len(photo.boxes)))]
        canvas, boxes, keep = window(photo.image(), photo.boxes, side, centre, rng)
        soft = self._m.soft[which][keep].copy()
        for i, box in enumerate(boxes):
            width, height = box[2] - box[0], box[3] - box[1]
            if 12 <= height <= 190 and 0.6 <= width / height <= 1.1 and rng.random() < SWAPPED:
                crop = int(rng.integers(len(self._m.crops)))
                replace_face(canvas, box, self._m.crops[crop], rng)
                soft[i] = self._smooth[self._m.crop_labels[crop]]
        return canvas, boxes, soft

    def _negative(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        photo = self._m.photos[self._negatives[int(rng.integers(len(self._negatives)))]]
        canvas, _, _ = window(photo.image(), photo.boxes, side, None, rng)
        boxes: list[npt.NDArray[np.float32]] = []
        soft = []
        for _ in range(int(rng.integers(1, 9)) if rng.random() < PASTED else 0):
            face = round(float(np.exp(rng.uniform(np.log(24), np.log(min(200, 0.65 * side))))))
            left, top = (int(v) for v in rng.integers(-face // 8, side - face + face // 8, 2))
            outline = np.array([left, top, left + face, top + face], np.float32)
            if any(overlap(outline, box) > 0.05 for box in boxes):
                continue
            crop = int(rng.integers(len(self._m.crops)))
            boxes.append(paste_face(canvas, (left, top, face), self._m.crops[crop], rng))
            soft.append(self._smooth[self._m.crop_labels[crop]])
        return canvas, clip_boxes(boxes, side), np.array(soft, np.float32).reshape(-1, len(EXPRESSIONS))

    def _sheet(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if rng.random() < 0.5:
            photo = self._m.photos[self._negatives[int(rng.integers(len(self._negatives)))]]
            canvas, _, _ = window(photo.image(), photo.boxes, side, None, rng)
        else:
            canvas = np.full((side, side, 3), int(rng.integers(256)) if rng.random() < 0.5 else PAD, np.uint8)
        cells = int(rng.integers(2, 8))
        cell = side / cells
        boxes, soft = [], []
        for row in range(cells):
            for column in range(cells):
                if rng.random() < 0.2:
                    continue
                face = int(cell * rng.uniform(0.55, 1.0))
                left = int(column * cell + rng.uniform(0, cell - face))
                top = int(row * cell + rng.uniform(0, cell - face))
                crop = int(rng.integers(len(self._m.crops)))
                boxes.append(paste_face(canvas, (left, top, face), self._m.crops[crop], rng))
                soft.append(self._smooth[self._m.crop_labels[crop]])
        return canvas, clip_boxes(boxes, side), np.array(soft, np.float32).reshape(-1, len(EXPRESSIONS))


def window(
    image: Image.Image,
    boxes: npt.NDArray[np.float32],
    side: int,
    centre: npt.NDArray[np.float32] | None,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A square view of a photo: all of it (30 %) or a window around `centre` at a random scale, padded with grey.

    Returns:
        uint8 [side, side, 3]; float32 [K, 4] boxes in its pixels; int64 [K] their rows in `boxes`. Boxes that show
        less than 40 % of themselves, or less than 8 px, are dropped.
    """
    longer = max(image.size)
    scale = side / longer if rng.random() < 0.3 else float(np.exp(rng.uniform(np.log(0.4), np.log(1.3))))
    extent = side / scale
    if centre is not None and rng.random() < 0.8:
        focus = ((centre[:2] + centre[2:]) / 2 + rng.uniform(-0.35, 0.35, 2) * extent).astype(float)
    else:
        focus = rng.uniform(0, 1, 2) * np.array(image.size)
    corner = np.zeros(2)
    for axis, length in enumerate(image.size):
        slack = length - extent
        corner[axis] = np.clip(focus[axis] - extent / 2, 0, slack) if slack > 0 else rng.uniform(slack, 0)
    seen = np.array([*np.maximum(corner, 0), *np.minimum(corner + extent, image.size)])
    place = np.round((seen - np.tile(corner, 2)) * scale).astype(int)
    canvas = np.full((side, side, 3), PAD, np.uint8)
    size = (max(int(place[2] - place[0]), 1), max(int(place[3] - place[1]), 1))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=tuple(seen)))
    canvas[place[1] : place[1] + size[1], place[0] : place[0] + size[0]] = pixels[: side - place[1], : side - place[0]]
    moved = ((boxes - np.tile(corner, 2)) * scale).astype(np.float32)
    limits = np.array([place[0], place[1], place[2], place[3]], np.float32)
    clipped = np.stack([np.clip(moved[:, i], limits[i % 2], limits[2 + i % 2]) for i in range(4)], 1)
    area = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = np.flatnonzero(
        (sides.prod(1) >= 0.4 * area) & (sides.max(1, initial=0) >= 8) & (sides.min(1, initial=99) > 2)
    )
    return canvas, clipped[keep], keep


def finish(
    canvas: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """What happens to every picture: mirror, light, colour, sometimes grey, soft or badly compressed."""
    side = canvas.shape[1]
    if rng.random() < 0.5:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
        boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
    table = np.arange(256, dtype=np.float32)[:, None]
    table = 255 * (table / 255) ** np.exp(rng.uniform(-0.35, 0.35)) * rng.uniform(0.92, 1.08, 3)
    table = (table - 128) * rng.uniform(0.7, 1.25) + 128 + rng.uniform(-25, 25)
    lut = np.clip(table, 0, 255).astype(np.uint8)
    canvas = np.stack([lut[:, c][canvas[..., c]] for c in range(3)], -1)
    if rng.random() < 0.15:
        canvas = np.repeat(to_grey(canvas)[..., None], 3, 2)
    if rng.random() < 0.1:
        soft = Image.fromarray(canvas).filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.5)))
        canvas = np.asarray(soft)
    if rng.random() < 0.15:
        packed = io.BytesIO()
        Image.fromarray(canvas).save(packed, "JPEG", quality=int(rng.integers(35, 85)))
        canvas = np.asarray(Image.open(packed))
    return canvas, boxes


def draw_classes(soft: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """One class per row, drawn from the row's distribution."""
    edges = np.cumsum(soft, 1)
    return (rng.random((len(soft), 1)) * edges[:, -1:] > edges).sum(1).clip(0, len(EXPRESSIONS) - 1)


def overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Area of the intersection over the area of the smaller box."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / max(min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()), 1e-6))


def clip_boxes(boxes: list[npt.NDArray[np.float32]], side: int) -> npt.NDArray[np.float32]:
    """float32 [N, 4], clipped to a square picture."""
    return np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, side)
