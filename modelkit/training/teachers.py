"""Who says an opinion of every training view, for another network to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelkit.judging.opinions import classify_with
from serving.expressions import EXPRESSIONS
from serving.models.backends import Backend
from serving.repository.manifest import Manifest


class Teacher(Protocol):
    """Seeing the very view that the student sees, mixed with others and relit, it teaches what it computes rather than
    what it remembers of the pictures (Beyer et al., "Knowledge distillation: A good teacher is patient and
    consistent", CVPR 2022)."""

    def __call__(self, views: Tensor, /) -> Tensor:
        """float32 [N, 1, H, H] in [0, 1] to probabilities on the same device.

        float32 [N, classes], or [N, 2 * classes] of a teacher with two heads, where each head's rows sum to 1.
        """


@dataclass(frozen=True)
class TrainedTeacher:
    """A network of a finished run.

    Attributes:
        network: in evaluation mode, on the student's device; float32 [N, 1, S, S] to `(logits, embedding or None)`.
        size: S, pixels.
        mean: of pixels scaled to [0, 1].
        std: likewise.
    """

    network: nn.Module
    size: int
    mean: float
    std: float

    def __call__(self, views: Tensor) -> Tensor:
        if views.shape[-1] != self.size:
            views = functional.interpolate(views, (self.size, self.size), mode="bilinear", antialias=True)
        logits = self.network((views - self.mean) / self.std)[0].float()
        return functional.softmax(logits.unflatten(1, (-1, len(EXPRESSIONS))), dim=2).flatten(1)


@dataclass(frozen=True)
class PublishedTeacher:
    """A published classifier, whoever made it, through the code that serves it: views are rounded to 8 bits.

    Attributes:
        backend: of the model, loaded.
        manifest: of the model.
    """

    backend: Backend
    manifest: Manifest

    def __call__(self, views: Tensor) -> Tensor:
        images = (views[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
        answers = classify_with(self.backend, self.manifest, images)
        undecided = np.float32(1 / answers.shape[1])  # a row without an opinion
        return torch.from_numpy(np.where(np.isnan(answers), undecided, answers)).to(views.device)
