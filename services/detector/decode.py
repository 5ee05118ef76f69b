"""Reads the output of YOLOv8 and YOLO11 (one layout): candidate boxes, face scores and expression probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.activation import activate
from serving.expressions import EXPRESSIONS, INDEX
from serving.repository.manifest import Activation, Label, Manifest, ScoreRule

MAX_CANDIDATES = 1000
"""Only the surest this many candidates of an image go on to non-maximum suppression."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Possible faces of one image, surest first, before suppression.

    boxes: float32 [N, 4], x1, y1, x2, y2, input pixels; scores: float32 [N] in (0, 1]; probabilities: float32
    [N, 7] in Ferry's order, rows sum to 1 or are NaN where the model has no opinion.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]


def decode(raw: npt.NDArray[np.float32], manifest: Manifest, score_threshold: float) -> Candidates:
    """Reads one image's output. Candidates with a non-finite number or an empty box are dropped.

    Args:
        raw: float32 [4 + len(labels), anchors]: centre x, centre y, width, height in input pixels, then the labels.
        manifest: of the detector; gives labels, activation, score rule and temperature.
        score_threshold: faces below it are dropped.

    Raises:
        ValueError: the output's shape does not fit the manifest.
    """
    rows = 4 + len(manifest.labels)
    if raw.ndim != 2 or raw.shape[0] != rows:
        raise ValueError(
            f"{manifest.name} answered {list(raw.shape)}; its manifest's {len(manifest.labels)} label(s) need "
            f"[{rows}, anchors]: correct `labels` in the manifest or export the model without NMS"
        )
    rule = manifest.detection.score_rule if manifest.detection else ScoreRule.MAX
    with np.errstate(all="ignore"):  # what is not finite goes below, with the few that are left
        classes = class_scores(raw[4:], manifest.output.activation)
        scores = np.minimum(classes.sum(axis=0), 1.0) if rule is ScoreRule.SUM else classes.max(axis=0)
        sure = np.flatnonzero((scores >= score_threshold) & (scores > 0))
    sure = sure[np.isfinite(raw[:, sure]).all(axis=0) & (raw[2, sure] > 0) & (raw[3, sure] > 0)]
    sure = sure[np.argsort(-scores[sure], kind="stable")[:MAX_CANDIDATES]]
    # Far outside any input, yet small enough that areas and unions stay finite.
    geometry = np.clip(raw[:4, sure].T, -1e6, 1e6)
    centre, half = geometry[:, :2], geometry[:, 2:] / 2
    return Candidates(
        boxes=np.concatenate([centre - half, centre + half], axis=1).astype(np.float32),
        scores=scores[sure].astype(np.float32),
        probabilities=expressions(classes[:, sure].T, manifest.labels, manifest.output.temperature),
    )


def class_scores(scores: npt.NDArray[np.float32], activation: Activation) -> npt.NDArray[np.float32]:
    """Raw label rows [labels, anchors] as scores in [0, 1]."""
    clipped: npt.NDArray[np.float32] = np.clip(activate(scores, activation, axis=0), 0, 1)
    return clipped


def expressions(
    classes: npt.NDArray[np.float32], labels: tuple[Label, ...], temperature: float
) -> npt.NDArray[np.float32]:
    """Label scores [N, labels] in [0, 1] as probabilities of the seven expressions.

    Labels of the same expression add up, labels without one are left out, the rest is raised to 1 / temperature
    (what temperature scaling of the logarithms amounts to) and normalised.

    Returns:
        float32 [N, 7], rows sum to 1; NaN where no label with an expression scored.
    """
    mass = np.zeros((len(classes), len(EXPRESSIONS)), np.float64)
    for column, label in enumerate(labels):
        if label.expression is not None:
            mass[:, INDEX[label.expression]] += classes[:, column]
    top = mass.max(axis=1, keepdims=True)
    mass = np.divide(mass, top, out=np.full_like(mass, np.nan), where=top > 0) ** (1 / temperature)
    probabilities: npt.NDArray[np.float32] = (mass / mass.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
