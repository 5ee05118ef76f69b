"""Crops made harder: smaller, darker, lit from one side, rolled; what is lost on each is said by the same labels."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelkit.data.votes import crowd_majority
from modelkit.judging.figures import Labels
from modelkit.judging.metrics import expression_metrics
from modelkit.judging.pictures import Crop, Pictures

SIZES = (12, 16, 24, 32, 48)
"""Sides in pixels that crops are brought down to; one that is no larger stays as it is."""

LIGHTS = (0.5, 0.25, 0.125)
"""What is left of the light."""

SIDES = (0.5, 0.2)
"""What is left of the light at the right edge, where the left one keeps all of it."""

ROLLS = (15, 30, 45)
"""Degrees by which a face is turned within the picture, clockwise and the other way in turn."""

NOISE = 3.0
"""Standard deviation of what a sensor adds in the dark, in grey levels of 255."""


@dataclass(frozen=True)
class Condition:
    """A way of making crops harder.

    Attributes:
        kind: `as it is`, `size`, `light`, `side light` or `roll`.
        name: within the kind.
        amount: how much of it: pixels, share of the light, degrees.
        change: uint8 [s, s, 3] to a crop of any side.
    """

    kind: str
    name: str
    amount: float
    change: Callable[[Crop], Crop]


@dataclass(frozen=True)
class HarderCrops:
    """What is true of crops that were made harder, all of them known.

    Attributes:
        crops: N of them.
        truth: int64 [N], 0 to 6.
    """

    crops: Sequence[Crop]
    truth: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pictures: Pictures, labels: Labels) -> HarderCrops:
        """Those that the crowd decides, or all where it is not asked."""
        asked = labels is not Labels.FER2013 and pictures.voted
        truth = crowd_majority(pictures.votes) if asked else pictures.labels
        rows = np.flatnonzero(truth >= 0)
        return cls([pictures.crops[int(row)] for row in rows], truth[rows])

    def under(self, condition: Condition) -> list[Crop]:
        """All crops, made harder; the same ones each time."""
        return [condition.change(crop) for crop in self.crops]

    def figures(self, answers: npt.NDArray[np.float32]) -> dict[str, Any]:
        """`n`, `accuracy` and `mean_recall` of answers, float32 [N, 7], rows of NaN where there is none."""
        found = expression_metrics(answers, self.truth)
        return {"n": len(self.truth), "accuracy": found["accuracy"], "mean_recall": found["mean_recall"]}


def conditions() -> tuple[Condition, ...]:
    """All of them, the unchanged crop first."""
    return (
        Condition("as it is", "as it is", 0, lambda crop: crop),
        *(Condition("size", f"{side} px", side, partial(smaller, side=side)) for side in SIZES),
        *(Condition("light", f"light {left:g}", left, partial(darker, left=left)) for left in LIGHTS),
        *(Condition("side light", f"one side {left:g}", left, partial(one_side, left=left)) for left in SIDES),
        *(Condition("roll", f"rolled {degrees}°", degrees, partial(rolled, degrees=degrees)) for degrees in ROLLS),
    )


def lost(reports: Sequence[Mapping[str, Any]], kind: str) -> dict[str, list[tuple[float, float]]]:
    """Model to (amount, accuracy) of one kind, by amount; models that were not judged so are left out."""
    amounts = {each.name: each.amount for each in conditions() if each.kind == kind}
    told = {report["model"]: report["harder"] for report in reports if "harder" in report}
    return {
        model: sorted((amounts[name], figures["accuracy"]) for name, figures in harder.items() if name in amounts)
        for model, harder in told.items()
    }


def smaller(crop: Crop, side: int) -> Crop:
    """The crop as a face of so many pixels gives it, with Pillow's filter over the pixels that go into one."""
    return crop if len(crop) <= side else np.asarray(Image.fromarray(crop).resize((side, side)))


def darker(picture: npt.NDArray[np.uint8], left: float) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] with a share of its light left, and noise that depends on the picture alone."""
    noise = np.random.default_rng(zlib.crc32(picture.tobytes())).normal(0, NOISE, picture.shape)
    return np.clip(picture * left + noise, 0, 255).astype(np.uint8)


def one_side(crop: Crop, left: float) -> Crop:
    """Light that falls evenly from all of it at the left edge to a share at the right one."""
    return (crop * np.linspace(1, left, crop.shape[1])[None, :, None]).astype(np.uint8)


def rolled(crop: Crop, degrees: float) -> Crop:
    """Turned about its middle; what comes in at the corners repeats the edge. Which way depends on the crop."""
    pad = len(crop) // 2
    around = np.pad(crop, ((pad, pad), (pad, pad), (0, 0)), "edge")
    way = 1 if zlib.crc32(crop.tobytes()) % 2 else -1
    turned = np.asarray(Image.fromarray(around).rotate(way * degrees, Image.Resampling.BILINEAR))
    return turned[pad : pad + len(crop), pad : pad + len(crop)]
