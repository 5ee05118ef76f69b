"""Draws the detector's training batches: photos with swapped faces, new faces on negatives, and sheets of crops.

Every batch is a pure function of (material, seed, step), so an interrupted run continues with the same pictures.
A face's expression is a distribution over the seven (see `modelkit.detector.loss`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from modelkit.detector.composites import paste_face, replace_face
from modelkit.detector.material import Material
from serving.expressions import EXPRESSIONS

PAD = 114
KINDS = {"photo": 0.55, "negative": 0.2, "sheet": 0.25}
"""Shares of the three kinds of picture."""

MOSAIC = 0.35
"""Share of the photos and negatives that are put together of four, each in a quarter of the picture."""

MOSAIC_NEGATIVES = 0.25
"""Share of a mosaic's quarters that show no photographed face."""

HIDDEN = 0.1
"""Share of the photographed faces of which a part is covered by something else of the picture."""

SWAPPED = 0.2
"""Share of the photographed faces that get a crop of known expression blended over them."""

PASTED = 0.3
"""Share of the photos without faces that get new ones pasted; the others teach what is no face."""

CLOSE = 0.1
"""Share of the windows around a face that are so near that it fills 0.4 to 1.1 of their side."""

NEAREST = 4.0
"""No window enlarges its photo by more, compared with the whole photo."""

TURNED = 0.15
"""Share of the pictures that are turned, by up to `TURN` degrees to either side."""

TURN = 40.0

DARK = 0.1
"""Share of the pictures that are taken in poor light: a sixth to a half of what they were, and noisy."""

LABEL_TRUST = 0.95
"""A crop's label counts this much, the other expressions share the rest (label smoothing)."""

TAUGHT = 0.5
"""Share of what the classifiers say of a crop in what is learnt from it, if they were asked. What the crowd saw has the
rest, and what the crowd left open, its label."""

BATCHES = ((320, 21), (416, 12), (512, 8))
"""(input side in pixels, images): about the same amount of work each."""


@dataclass(frozen=True)
class Batch:
    """images: uint8 [B, S, S, 3]; per face: image int64 [F], expression float32 [F, 7], box float32 [F, 4] (px)."""

    images: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int64]
    expressions: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]


class Sampler:
    """Draws batches from `material`; their sides and sizes from `batches`, as `BATCHES`; a share `mosaic` of four."""

    def __init__(
        self, material: Material, seed: int, batches: Sequence[tuple[int, int]] = (), mosaic: float = MOSAIC
    ) -> None:
        self._m = material
        self._seed = seed
        self._mosaics = mosaic
        self._batches = tuple(batches) or BATCHES
        self._faces = material.with_faces
        self._negatives = material.without_faces
        n = len(EXPRESSIONS)
        smooth = np.full((n, n), (1 - LABEL_TRUST) / (n - 1), np.float32)
        np.fill_diagonal(smooth, LABEL_TRUST)
        self._crops: npt.NDArray[np.float32] = smooth[material.crop_labels]
        if material.crowd is not None:
            self._crops = material.crowd + (1 - material.crowd.sum(axis=1, keepdims=True)) * self._crops
        if material.taught is not None:
            self._crops = (1 - TAUGHT) * self._crops + TAUGHT * material.taught

    def batch(self, step: int) -> Batch:
        """The batch of that step; the same for the same seed."""
        rng = np.random.default_rng((self._seed, step))
        side, count = self._batches[int(rng.integers(len(self._batches)))]
        images = np.empty((count, side, side, 3), np.uint8)
        index, expressions, boxes = [], [], []
        for i in range(count):
            images[i], image_boxes, soft = self.sample(side, rng)
            index += [i] * len(image_boxes)
            expressions.append(soft)
            boxes.append(image_boxes)
        return Batch(images, np.array(index, np.int64), np.concatenate(expressions), np.concatenate(boxes))

    def sample(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One picture: uint8 [side, side, 3], float32 [F, 4] boxes in its pixels, float32 [F, 7] expressions."""
        kind = rng.choice(list(KINDS), p=list(KINDS.values()))
        if kind == "sheet":
            canvas, boxes, soft = self._sheet(side, rng)
        elif rng.random() < self._mosaics:
            canvas, boxes, soft = self._mosaic(side, rng)
        elif kind == "photo":
            canvas, boxes, soft = self._photo(side, rng)
        else:
            canvas, boxes, soft = self._negative(side, rng)
        if rng.random() < TURNED:
            canvas, boxes, keep = turn(canvas, boxes, rng.uniform(-TURN, TURN))
            soft = soft[keep]
        canvas, boxes = finish(canvas, boxes, rng)
        return canvas, boxes, soft

    def _mosaic(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        half = side // 2
        canvas = np.empty((side, side, 3), np.uint8)
        all_boxes, all_soft = [], []
        for left, top in ((0, 0), (half, 0), (0, half), (half, half)):
            draw = self._negative if rng.random() < MOSAIC_NEGATIVES else self._photo
            canvas[top : top + half, left : left + half], boxes, soft = draw(half, rng)
            all_boxes.append(boxes + np.array([left, top, left, top], np.float32))
            all_soft.append(soft)
        return canvas, np.concatenate(all_boxes), np.concatenate(all_soft)

    def _photo(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        which = self._faces[int(rng.integers(len(self._faces)))]
        photo = self._m.photos[which]
        centre = photo.boxes[int(rng.integers(len(photo.boxes)))]
        places = np.concatenate([photo.boxes, photo.unclear])
        canvas, boxes, keep = window(photo.image(), places, side, centre, rng)
        known = keep < len(photo.boxes)
        for box in boxes[~known]:
            cover(canvas, box, rng)
        boxes, keep = boxes[known], keep[known]
        soft = self._m.soft[which][keep].copy()
        for i, box in enumerate(boxes):
            width, height = box[2] - box[0], box[3] - box[1]
            if 12 <= height <= 190 and 0.6 <= width / height <= 1.1 and rng.random() < SWAPPED:
                crop = int(rng.integers(len(self._m.crops)))
                replace_face(canvas, box, self._m.crops[crop], rng)
                soft[i] = self._crops[crop]
            elif rng.random() < HIDDEN:
                hide(canvas, box, rng)
        return canvas, boxes, soft

    def _negative(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        photo = self._m.photos[self._negatives[int(rng.integers(len(self._negatives)))]]
        canvas, _, _ = window(photo.image(), photo.boxes, side, None, rng)
        boxes: list[npt.NDArray[np.float32]] = []
        soft = []
        for _ in range(int(rng.integers(1, 9)) if rng.random() < PASTED else 0):
            largest = min(200, 0.65 * side)
            face = round(float(np.exp(rng.uniform(np.log(min(24, largest)), np.log(largest)))))
            left, top = (int(v) for v in rng.integers(-face // 8, side - face + face // 8, 2))
            outline = np.array([left, top, left + face, top + face], np.float32)
            if any(overlap(outline, box) > 0.05 for box in boxes):
                continue
            crop = int(rng.integers(len(self._m.crops)))
            boxes.append(paste_face(canvas, (left, top, face), self._m.crops[crop], rng))
            soft.append(self._crops[crop])
        return canvas, clip_boxes(boxes, side), np.array(soft, np.float32).reshape(-1, len(EXPRESSIONS))

    def _sheet(
        self, side: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if rng.random() < 0.5:
            photo = self._m.photos[self._negatives[int(rng.integers(len(self._negatives)))]]
            canvas, _, _ = window(photo.image(), photo.boxes, side, None, rng)
        else:
            canvas = np.full((side, side, 3), int(rng.integers(256)) if rng.random() < 0.5 else PAD, np.uint8)
        cells = int(rng.integers(2, 7))
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
                soft.append(self._crops[crop])
        return canvas, clip_boxes(boxes, side), np.array(soft, np.float32).reshape(-1, len(EXPRESSIONS))


def window(
    image: Image.Image,
    boxes: npt.NDArray[np.float32],
    side: int,
    centre: npt.NDArray[np.float32] | None,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A square view of a photo on grey: all of it (30 %) or a window around the box `centre` at a random scale.

    Width and height are stretched a little against each other.

    Returns:
        uint8 [side, side, 3]; float32 [K, 4] boxes in its pixels; int64 [K] their rows in `boxes`. Boxes that show
        less than 40 % of themselves, or less than 8 px, are dropped.
    """
    if centre is not None and rng.random() < CLOSE:
        longest = max(float((centre[2:] - centre[:2]).max()), 1.0)
        zoom = min(float(rng.uniform(0.4, 1.1)) * max(image.size) / longest, NEAREST)
    else:
        zoom = 1.0 if rng.random() < 0.3 else float(np.exp(rng.uniform(np.log(0.6), np.log(2.2))))
    stretch = float(np.exp(rng.uniform(-0.08, 0.08)))
    scale = zoom * side / max(image.size) * np.array([stretch, 1 / stretch])
    extent = side / scale
    if centre is not None and rng.random() < 0.8:
        focus = ((centre[:2] + centre[2:]) / 2 + rng.uniform(-0.35, 0.35, 2) * extent).astype(float)
    else:
        focus = rng.uniform(0, 1, 2) * np.array(image.size)
    corner = np.zeros(2)
    for axis, length in enumerate(image.size):
        slack = length - extent[axis]
        corner[axis] = np.clip(focus[axis] - extent[axis] / 2, 0, slack) if slack > 0 else rng.uniform(slack, 0)
    seen = np.array([*np.maximum(corner, 0), *np.minimum(corner + extent, image.size)])
    place = np.round((seen - np.tile(corner, 2)) * np.tile(scale, 2)).astype(int)
    canvas = np.full((side, side, 3), PAD, np.uint8)
    size = (max(int(place[2] - place[0]), 1), max(int(place[3] - place[1]), 1))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=tuple(seen)))
    canvas[place[1] : place[1] + size[1], place[0] : place[0] + size[0]] = pixels[: side - place[1], : side - place[0]]
    moved = ((boxes - np.tile(corner, 2)) * np.tile(scale, 2)).astype(np.float32)
    limits = np.array([place[0], place[1], place[2], place[3]], np.float32)
    clipped = np.stack([np.clip(moved[:, i], limits[i % 2], limits[2 + i % 2]) for i in range(4)], 1)
    area = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = np.flatnonzero(
        (sides.prod(1) >= 0.4 * area) & (sides.max(1, initial=0) >= 8) & (sides.min(1, initial=99) > 2)
    )
    return canvas, clipped[keep], keep


def cover(canvas: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Covers all of `box` with another part of the picture, in place."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.minimum(np.ceil(box[2:]).astype(int), (canvas.shape[1], canvas.shape[0]))
    x = int(rng.integers(canvas.shape[1] - (right - left) + 1))
    y = int(rng.integers(canvas.shape[0] - (bottom - top) + 1))
    canvas[top:bottom, left:right] = canvas[y : y + bottom - top, x : x + right - left].copy()


def turn(
    canvas: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], degrees: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The picture turned counterclockwise around its centre, and the boxes of the faces that still show.

    A face is taken for the ellipse that fills its box; its new box is the upright one around the turned ellipse.

    Returns:
        uint8 [side, side, 3]; float32 [K, 4]; int64 [K], their rows in `boxes`. Faces whose centre has left the picture
        are dropped.
    """
    side = canvas.shape[1]
    turned = Image.fromarray(canvas).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(PAD, PAD, PAD))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - side / 2
    centre = side / 2 + offset @ np.array([[cosine, -sine], [sine, cosine]])
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    around = np.sqrt(half**2 * cosine**2 + half[:, ::-1] ** 2 * sine**2)
    keep = np.flatnonzero(((centre > 0) & (centre < side)).all(axis=1))
    moved = np.clip(np.concatenate([centre - around, centre + around], axis=1)[keep], 0, side)
    return np.asarray(turned), moved.astype(np.float32), keep


def hide(canvas: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Covers a part of the face in `box` with another part of the picture, in place."""
    width, height = (int(v) for v in (box[2:] - box[:2]) * rng.uniform(0.25, 0.6, 2))
    if min(width, height) < 1:
        return
    left, top = (int(v) for v in box[:2] + rng.uniform(0, 1, 2) * (box[2:] - box[:2] - (width, height)))
    x, y = int(rng.integers(canvas.shape[1] - width + 1)), int(rng.integers(canvas.shape[0] - height + 1))
    canvas[top : top + height, left : left + width] = canvas[y : y + height, x : x + width].copy()


def finish(
    canvas: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """What happens to every picture: mirror, light, colour, sometimes grey, soft or badly compressed."""
    side = canvas.shape[1]
    picture = Image.fromarray(canvas)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
    table = np.arange(256, dtype=np.float32)[:, None]
    table = 255 * (table / 255) ** np.exp(rng.uniform(-0.35, 0.35)) * rng.uniform(0.88, 1.12, 3)
    table = (table - 128) * rng.uniform(0.7, 1.25) + 128 + rng.uniform(-25, 25)
    dark = rng.random() < DARK
    if dark:
        table *= rng.uniform(1 / 6, 1 / 2)
    picture = picture.point(np.clip(table, 0, 255).astype(np.uint8).T.ravel().tolist())
    if dark:
        grain = rng.normal(0, rng.uniform(0, 6), canvas.shape)
        picture = Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))
    if rng.random() < 0.15:
        picture = picture.convert("L").convert("RGB")
    elif rng.random() < 0.3:
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.5, 1.5))
    if rng.random() < 0.1:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.5)))
    if rng.random() < 0.15:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(35, 85)))
        picture = Image.open(packed)
    return np.asarray(picture), boxes


def overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Area of the intersection over the area of the smaller box."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / max(min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()), 1e-6))


def clip_boxes(boxes: list[npt.NDArray[np.float32]], side: int) -> npt.NDArray[np.float32]:
    """float32 [N, 4], clipped to a square picture."""
    return np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, side)
