"""The detector's way of an image as plain function calls, each step timed by the CPU time of this process."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, TypeVar

import numpy as np

from ferry.v1 import detector_pb2
from services.detector.engine import find_faces, prepare_images
from services.detector.reduction import crops_lose_nothing, reduction_for_crops, reduction_for_search
from services.detector.service import to_message
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.images.cost import outline
from serving.images.crop import crop_side, cut_crops
from serving.images.decode import decode_reduced
from serving.models import tuning
from serving.models.backends import Backend
from serving.repository.repository import StoredModel
from serving.tensors import to_tensor

STAGES = ("header", "decode", "input", "run", "faces", "crops", "answer")
BARE, BARE_FULL = "bare run", "bare run, full frame"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over all rounds: CPU milliseconds of this process, and pages that the kernel had to map."""

    stage: str
    cpu_ms: float
    page_faults: float


@dataclass(frozen=True, slots=True)
class Way:
    """What was measured.

    Attributes:
        how: backend and precision.
        shape: of the model's input for this picture.
        faces: found in it.
        rounds: measured.
        stages: in the order of STAGES.
        bare: a run on input that is ready, of the same shape.
        bare_full: the same on input of the largest shape.
    """

    how: str
    shape: tuple[int, ...]
    faces: int
    rounds: int
    stages: tuple[Cost, ...]
    bare: Cost
    bare_full: Cost

    @property
    def total_ms(self) -> float:
        return sum(cost.cpu_ms for cost in self.stages)

    @property
    def ratio(self) -> float:
        """Of the whole way to a bare run."""
        return self.total_ms / self.bare.cpu_ms

    @property
    def ratio_full(self) -> float:
        """Of the whole way to a bare run on the largest input."""
        return self.total_ms / self.bare_full.cpu_ms

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"total_ms": self.total_ms, "ratio": self.ratio, "ratio_full": self.ratio_full}


@dataclass(slots=True)
class _Readings:
    cpu: dict[str, list[float]] = field(default_factory=dict)
    faults: dict[str, list[int]] = field(default_factory=dict)

    def take(self, stage: str, call: Callable[[], T]) -> T:
        faults, cpu = _page_faults(), time.process_time()
        result = call()
        self.cpu.setdefault(stage, []).append((time.process_time() - cpu) * 1000)
        self.faults.setdefault(stage, []).append(_page_faults() - faults)
        return result

    def cost(self, stage: str) -> Cost:
        return Cost(stage, median(self.cpu[stage]), median(self.faults[stage]))


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure(stored: StoredModel, backend: Backend, how: str, photo: bytes, seconds: float) -> Way:
    """Goes the way again and again, with both bare runs after each, for `seconds`.

    Args:
        stored: the detector.
        backend: it, loaded, with one thread.
        how: its backend and precision, for the reader.
        photo: encoded.
        seconds: three rounds are measured at least, after two that do not count.
    """
    manifest, recipe = stored.manifest, read_recipe(DEFAULT_RECIPE)
    full = tuning.probe(manifest.input, 1)
    margin = np.float32(recipe.crop_margin).item()

    def once(readings: _Readings) -> tuple[tuple[int, ...], int]:
        take = readings.take
        image = take("header", lambda: outline(photo))
        reduction = reduction_for_search(image, manifest)
        picture = take("decode", lambda: decode_reduced(photo, reduction))
        rows, (geometry,) = take("input", lambda: prepare_images([picture.pixels], manifest))
        view = geometry.within(picture.width, picture.height, picture.reduction, 0, 0)
        raw = take("run", lambda: backend.run(rows))[manifest.output.scores][0]
        faces = take("faces", lambda: find_faces(raw, view, manifest))
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        sides = [crop_side(box, margin) for box in boxes]

        def cut() -> Any:
            larger = picture
            if not crops_lose_nothing(reduction, sides, recipe.crop_size):
                larger = decode_reduced(photo, reduction_for_crops(image, sides, recipe.crop_size))
            return cut_crops(larger.pixels, boxes / np.float32(larger.reduction), recipe.crop_size, margin)

        crops = take("crops", cut)
        take(
            "answer",
            lambda: detector_pb2.DetectResponse(
                detections=[to_message(face) for face in faces], crops=to_tensor(crops)
            ).SerializeToString(),
        )
        take(BARE, lambda: backend.run(rows))
        take(BARE_FULL, lambda: backend.run(full))
        return rows.shape, len(faces)

    for _ in range(2):
        once(_Readings())
    readings, rounds, started = _Readings(), 0, time.monotonic()
    while rounds < 3 or time.monotonic() - started < seconds:
        shape, faces = once(readings)
        rounds += 1
    stages = tuple(readings.cost(stage) for stage in STAGES)
    return Way(how, shape, faces, rounds, stages, readings.cost(BARE), readings.cost(BARE_FULL))
