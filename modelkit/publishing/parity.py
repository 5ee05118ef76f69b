"""Whether an exported file answers as the trained network does, on pictures of the kind that it will see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from modelkit.detector.export import OUTPUT
from modelkit.training.manifests import LOGITS
from services.detector.letterbox import letterbox
from serving.models.backends import load_backend
from serving.preprocess import encode, floats, normalise, prepare
from serving.repository.manifest import InputSpec

TOLERANCE = 1e-3
"""Largest difference of any probability, or of any score of a detector, from PyTorch's that an export may show."""

SAME_FIRST = 0.999
"""Least share of the pictures whose likeliest class has to be PyTorch's."""

MOST_PICTURES = 1000
"""This many can tell whether one in a thousand differs; more would only take longer."""

BATCH = 16
Crops = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]


class ExportError(RuntimeError):
    """The exported file does not answer as the trained network does."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the answers are apart.

    Attributes:
        pictures: that were compared.
        max_difference: of any probability or score.
        same_first: share of the pictures whose likeliest class is the same; of detectors, that of the surest box.
        ties: pictures whose two likeliest classes are less than TOLERANCE apart in PyTorch itself.
    """

    pictures: int
    max_difference: float
    same_first: float
    ties: int

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"parity with PyTorch on {self.pictures} pictures: probabilities differ by {self.max_difference:.1e} at "
            f"most, {self.same_first:.2%} have the same first class"
        )


def check_classifier(network: nn.Module, file: Path, spec: InputSpec, crops: Sequence[Crops]) -> Parity:
    """Compares a classifier's probabilities.

    Args:
        network: answers `(logits, embedding or None)`; in evaluation mode, on the CPU.
        file: exported from it.
        spec: how crops become its input.
        crops: uint8 [H, W, 3] each, RGB, of any size; the first MOST_PICTURES are looked at.

    Raises:
        ExportError: probabilities differ by more than TOLERANCE, or too many first classes do.
    """
    backend, compared = load_backend(file), _Comparison()
    for some in _batches(crops):
        rows = np.concatenate([prepare(crop[None], spec) for crop in some])
        with torch.inference_mode():
            wanted = network(torch.from_numpy(floats(rows, spec)))[0].float()
        actual = torch.from_numpy(backend.run(rows)[LOGITS])
        compared.add(*(torch.softmax(logits, 1).numpy() for logits in (actual, wanted)))
    return compared.judged(file)


def check_detector(network: nn.Module, file: Path, spec: InputSpec, photos: Sequence[Crops]) -> Parity:
    """Compares a detector's scores, of every class and anchor, each photo in another of the frames it may have.

    Args:
        network: a YOLO in evaluation mode, on the CPU.
        file: exported from it.
        spec: how photos become its input.
        photos: uint8 [height, width, 3] each, RGB; the first MOST_PICTURES are looked at.

    Raises:
        ExportError: scores differ by more than TOLERANCE, or too many surest boxes have another first class.
    """
    backend, compared = load_backend(file), _Comparison()
    for frame, photo in zip(cycle(spec.frames), photos[:MOST_PICTURES], strict=False):
        pixels = letterbox(photo, *frame, spec.resize)[0][None]
        with torch.inference_mode():
            answers = network(torch.from_numpy(normalise(pixels, spec)))
        wanted = (answers[0] if isinstance(answers, tuple | list) else answers).float().numpy()[:, 4:]
        actual = backend.run(encode(pixels, spec))[OUTPUT][:, 4:]
        compared.differ(actual, wanted)
        surest = wanted.sum(axis=1).argmax(axis=1)
        compared.add(*(scores[[0], :, surest] for scores in (actual, wanted)))
    return compared.judged(file)


def stand_ins() -> list[Crops]:
    """Where no data is given: parts of the photo of Grace Hopper that matplotlib comes with, uint8 [H, W, 3], RGB."""
    from matplotlib.cbook import get_sample_data

    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as picture:
        photo = np.asarray(picture.convert("RGB"))
    side, parts = min(photo.shape[:2]), [photo]
    for size in (side, side * 2 // 3, side // 2):
        for top in range(0, photo.shape[0] - size + 1, max(side // 4, 1)):
            for left in range(0, photo.shape[1] - size + 1, max(side // 4, 1)):
                part = photo[top : top + size, left : left + size]
                parts += [part, np.ascontiguousarray(part[:, ::-1])]
    return parts


class _Comparison:
    """Gathers what is compared, a batch at a time."""

    def __init__(self) -> None:
        self._largest = 0.0
        self._same: list[bool] = []
        self._tied: list[bool] = []

    def differ(self, actual: Scores, wanted: Scores) -> None:
        """Looks at differences alone."""
        difference = float(np.abs(actual - wanted).max(initial=0))
        self._largest = max(self._largest, difference if np.isfinite(difference) else float("inf"))

    def add(self, actual: Scores, wanted: Scores) -> None:
        """Looks at differences and first classes: float32 [N, classes] both."""
        self.differ(actual, wanted)
        self._same += (actual.argmax(axis=1) == wanted.argmax(axis=1)).tolist()
        first = np.sort(wanted, axis=1)[:, -2:]
        self._tied += (
            (first[:, -1] - first[:, 0] < TOLERANCE).tolist() if wanted.shape[1] > 1 else [False] * len(wanted)
        )

    def judged(self, file: Path) -> Parity:
        """The figures.

        Raises:
            ExportError: they do not hold.
        """
        same, tied = np.asarray(self._same, bool), np.asarray(self._tied, bool)
        if not len(same):
            raise ExportError(f"{file} was compared with PyTorch on no picture at all")
        found = Parity(len(same), self._largest, float(same.mean()), int(tied.sum()))
        if not found.max_difference <= TOLERANCE:
            raise ExportError(f"{file}: {found}; more than {TOLERANCE} is not allowed")
        # A thousand pictures can tell a share of 99.9 %. Among fewer, one that PyTorch wavers on decides nothing.
        counted = same if len(same) >= MOST_PICTURES else same | tied
        if counted.mean() < SAME_FIRST:
            raise ExportError(f"{file}: {found}; at least {SAME_FIRST:.1%} must")
        return found


def _batches(pictures: Sequence[Crops]) -> Iterator[Sequence[Crops]]:
    for start in range(0, min(len(pictures), MOST_PICTURES), BATCH):
        yield pictures[start : min(start + BATCH, MOST_PICTURES)]
