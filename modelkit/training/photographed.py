"""Faces cut out of photographs, whose expression nobody labelled: pictures for teachers to speak about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from modelkit.data.expressions import CROP_SIZE, ExpressionSet
from modelkit.data.framing import CROP_MARGIN
from modelkit.data.photos import Photo
from modelkit.data.votes import VOTES
from serving.images.crop import cut_crops

LEAST = 32.0
"""Pixels of a face's longer side; smaller ones show a teacher too little."""


def photographed(photos: Sequence[Photo]) -> ExpressionSet:
    """Every face of LEAST pixels or more without a mask, cut as serving cuts it, grey (ITU-R BT.601), unlabelled."""
    images, names = [], []
    for photo in photos:
        sides = (photo.boxes[:, 2:] - photo.boxes[:, :2]).max(axis=1, initial=0)
        chosen = np.flatnonzero(photo.unmasked & (sides >= LEAST))
        if not len(chosen):
            continue
        crops = cut_crops(np.asarray(photo.image()), photo.boxes[chosen], CROP_SIZE, CROP_MARGIN)
        images += [np.asarray(Image.fromarray(crop).convert("L")) for crop in crops]
        names += [f"{photo.name}-{face}" for face in chosen]
    pixels = np.stack(images) if images else np.empty((0, CROP_SIZE, CROP_SIZE), np.uint8)
    votes = np.zeros((len(names), len(VOTES)), np.int64)
    return ExpressionSet(pixels, np.full(len(names), -1, np.int64), tuple(names), votes)
