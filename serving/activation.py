"""From what a network computes to shares and scores."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from serving.repository.manifest import Activation

FloatT = TypeVar("FloatT", bound=np.floating[Any])


def softmax(logits: npt.NDArray[FloatT], axis: int = 1) -> npt.NDArray[FloatT]:
    """Finite logits of any shape to shares of the same shape and type, which sum to 1 along `axis`."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True, initial=-np.inf))
    shares: npt.NDArray[FloatT] = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def sigmoid(logits: npt.NDArray[FloatT]) -> npt.NDArray[FloatT]:
    """Logits of any shape to scores in [0, 1] of the same shape and type."""
    # So written it overflows for no logit.
    return np.asarray((1 + np.tanh(logits / 2)) / 2, logits.dtype)


def activate(scores: npt.NDArray[FloatT], activation: Activation, axis: int = 1) -> npt.NDArray[FloatT]:
    """What a manifest says is to be done with a network's scores; `axis` is that of its labels."""
    if activation is Activation.SOFTMAX:
        return softmax(scores, axis)
    if activation is Activation.SIGMOID:
        return sigmoid(scores)
    return scores
