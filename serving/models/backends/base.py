"""What a backend is: something that runs one model file on one kind of hardware."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.float32]]
Run = Callable[[Rows], Outputs]


class ModelLoadError(Exception):
    """A model file that cannot be loaded; the message says which and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot load {path}: {reason}")
        self.path = path
        self.reason = reason


class Backend(ABC):
    """A loaded model.

    Attributes:
        name: such as `onnxruntime`.
        precision: of the arithmetic, such as `fp32`, `bf16` or `int8`.
        device: such as `cpu` or `cuda`.
        overlaps: whether a run computes on threads of its own, and does meanwhile what its caller has put off
            (serving.models.backends.deferred).
    """

    name: str
    precision: str
    device: str = "cpu"
    overlaps: bool = False

    @abstractmethod
    def run(self, rows: Rows) -> Outputs:
        """Runs the model once. Safe to call from several threads.

        Args:
            rows: float32 or uint8 [N, ...], as the model's manifest describes it.

        Returns:
            Output name to float32 [N, ...].
        """

    def warm(self, rows: Rows) -> Outputs:
        """As `run`, by everything that may make such a run later. Called before the model serves."""
        return self.run(rows)
