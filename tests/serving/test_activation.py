"""What a network computes becomes shares and scores, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest

from serving.activation import activate, sigmoid, softmax
from serving.repository.manifest import Activation

LOGITS = np.array([[0.0, np.log(3.0)], [1000.0, -1000.0], [-1e30, -1e30]])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_softmax(kind: type[np.floating]) -> None:  # type: ignore[type-arg]
    shares = softmax(LOGITS.astype(kind))
    assert shares.dtype == kind
    assert np.allclose(shares, [[0.25, 0.75], [1, 0], [0.5, 0.5]])
    assert np.allclose(softmax(LOGITS.astype(kind).T, axis=0), shares.T)
    assert softmax(np.zeros((0, 7), kind)).shape == (0, 7)


def test_sigmoid_overflows_for_nothing() -> None:
    with np.errstate(all="raise"):
        scores = sigmoid(np.array([-1e30, 0.0, np.log(3.0), 1e30]))
    assert np.allclose(scores, [0, 0.5, 0.75, 1])


def test_what_a_manifest_says_is_done() -> None:
    assert np.array_equal(activate(LOGITS, Activation.NONE), LOGITS)
    assert np.array_equal(activate(LOGITS, Activation.SOFTMAX), softmax(LOGITS))
    assert np.array_equal(activate(LOGITS, Activation.SIGMOID), sigmoid(LOGITS))
