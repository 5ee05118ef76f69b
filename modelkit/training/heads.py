"""Two heads, one taught by the crowd's votes and one by labels, joined into the one answer that is served.

The joined logits are `(1 - s) * votes + s * labels - t * log(prior)`. Votes agree with what most people see, but most
people see a neutral face; taking a share `t` of the logarithm of the crowd's own frequencies away lets rare expressions
be answered too (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from modelkit.judging.metrics import expression_metrics
from modelkit.training.targets import CLASSES

LABEL_SHARES = tuple(step / 20 for step in range(13))  # 0 to 0.6
PRIOR_SHARES = tuple(step / 10 for step in range(11))  # 0 to 1


@dataclass(frozen=True)
class Joint:
    """How two heads become one answer.

    Attributes:
        label_share: s, in [0, 1].
        prior_share: t, 0 or more.
        prior: the crowd's mean distribution over the training pictures, in Ferry's order; sums to 1.
    """

    label_share: float
    prior_share: float
    prior: tuple[float, ...]

    def logits(self, heads: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [N, 14] of both heads to float32 [N, 7]."""
        votes, labels = heads[:, :CLASSES], heads[:, CLASSES:]
        joined: npt.NDArray[np.float32] = votes * (1 - self.label_share) + labels * self.label_share + self._offset()
        return joined

    def as_record(self) -> dict[str, object]:
        return asdict(self)

    def _offset(self) -> npt.NDArray[np.float32]:
        return (-self.prior_share * np.log(np.maximum(self.prior, 1e-6))).astype(np.float32)


@dataclass(frozen=True)
class Point:
    """What one way of joining gives on held-back pictures: shares of right answers, and the mean of seven recalls."""

    joint: Joint
    crowd_accuracy: float
    crowd_mean_recall: float
    label_accuracy: float

    @property
    def worth(self) -> float:
        """What the served point is chosen by: agreement with the crowd, over faces and over expressions alike."""
        return self.crowd_accuracy + self.crowd_mean_recall

    def as_record(self) -> dict[str, float]:
        """As plain values, rounded to a ten-thousandth."""
        values = {
            "label_share": self.joint.label_share,
            "prior_share": self.joint.prior_share,
            "crowd_accuracy": self.crowd_accuracy,
            "crowd_mean_recall": self.crowd_mean_recall,
            "label_accuracy": self.label_accuracy,
        }
        return {name: round(value, 4) for name, value in values.items()}


class Joined(nn.Module):
    """A network of two heads that answers as one. Not for training."""

    def __init__(self, network: nn.Module, joint: Joint) -> None:
        super().__init__()
        self.network, self.share = network, joint.label_share
        self.register_buffer("offset", torch.from_numpy(joint._offset()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """As the network itself, with logits float32 [N, 7]."""
        heads, embedding = self.network(images)
        votes, labels = heads[:, :CLASSES], heads[:, CLASSES:]
        return votes * (1 - self.share) + labels * self.share + self.offset, embedding


def frontier(
    heads: npt.NDArray[np.float32],
    seen: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    prior: npt.NDArray[np.float32],
) -> Iterator[Point]:
    """Every way of joining on a grid, and what it gives.

    Args:
        heads: float32 [N, 14], logits of both heads on held-back pictures.
        seen: int64 [N], what the crowd sees, 0..6, or -1 where it decides nothing.
        labels: int64 [N], 0..6.
        prior: float32 [7], the crowd's mean distribution over the training pictures.
    """
    decided = seen >= 0
    for label_share in LABEL_SHARES:
        for prior_share in PRIOR_SHARES:
            joint = Joint(label_share, prior_share, tuple(float(p) for p in prior / prior.sum()))
            answers = torch.softmax(torch.from_numpy(joint.logits(heads)), dim=1).numpy()
            crowd = expression_metrics(answers[decided], seen[decided])
            recalls = [recall for recall in crowd["per_class"].values() if recall is not None]
            right = float((answers.argmax(axis=1) == labels).mean())
            yield Point(joint, crowd["accuracy"], float(np.mean(recalls)), right)


def best(points: Sequence[Point], label_share: float | None = None, prior_share: float | None = None) -> Point:
    """The point of most worth, of those with the given shares; None leaves a share open.

    Raises:
        ValueError: a share is not on the grid; the message lists what is.
    """
    for name, wanted, grid in (
        ("label share", label_share, LABEL_SHARES),
        ("prior share", prior_share, PRIOR_SHARES),
    ):
        if wanted is not None and not any(np.isclose(wanted, share) for share in grid):
            raise ValueError(f"{name} {wanted:g} is not one of {', '.join(f'{share:g}' for share in grid)}")
    fits = [
        point
        for point in points
        if (label_share is None or np.isclose(point.joint.label_share, label_share))
        and (prior_share is None or np.isclose(point.joint.prior_share, prior_share))
    ]
    return max(fits, key=lambda point: point.worth)
