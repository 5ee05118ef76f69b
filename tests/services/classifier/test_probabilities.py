from __future__ import annotations

import numpy as np
import pytest

from services.classifier.probabilities import probabilities
from serving.expressions import EXPRESSIONS, Expression
from serving.repository.manifest import Activation, Color, InputSpec, Label, Manifest, OutputSpec, Task


def model(*labels: tuple[str, Expression | None], activation: Activation, temperature: float = 1.0) -> Manifest:
    return Manifest(
        name="tiny",
        version="1",
        task=Task.CLASSIFY,
        architecture="none",
        input=InputSpec(name="images", width=48, height=48, color=Color.GREY, mean=(0.5,), std=(0.25,)),
        labels=tuple(Label(name=name, expression=expression) for name, expression in labels),
        output=OutputSpec(scores="logits", activation=activation, temperature=temperature),
        files={"model.onnx": "0" * 64},
    )


OWN = [(e.value, e) for e in EXPRESSIONS]


def test_softmax_with_temperature() -> None:
    logits = np.array([[2.0, 0, 0, 0, 0, 0, 0]], np.float32)
    answer = probabilities({"logits": logits}, model(*OWN, activation=Activation.SOFTMAX, temperature=2.0))
    assert answer.dtype == np.float32
    assert answer[0, 0] == pytest.approx(np.e / (np.e + 6))
    assert answer.sum() == pytest.approx(1)


def test_labels_in_another_order_find_their_column() -> None:
    manifest = model(*reversed(OWN), activation=Activation.NONE)
    answer = probabilities({"logits": np.eye(7, dtype=np.float32)}, manifest)
    assert answer.tolist() == np.eye(7)[::-1].tolist()


def test_unknown_labels_are_dropped_and_doubles_added() -> None:
    manifest = model(
        ("smile", Expression.HAPPY), ("grin", Expression.HAPPY), ("rage", Expression.ANGRY), ("contempt", None),
        activation=Activation.NONE,
    )  # fmt: skip
    answer = probabilities({"logits": np.array([[0.1, 0.2, 0.2, 0.5]], np.float32)}, manifest)
    named = dict(zip(EXPRESSIONS, answer[0].tolist(), strict=True))
    assert named == pytest.approx(dict.fromkeys(EXPRESSIONS, 0) | {Expression.ANGRY: 0.4, Expression.HAPPY: 0.6})


def test_sigmoid_scores_are_normalised() -> None:
    logits = np.array([[0.0, 0, -800, -800, -800, -800, -800]], np.float32)
    answer = probabilities({"logits": logits}, model(*OWN, activation=Activation.SIGMOID))
    assert answer[0, :2].tolist() == [0.5, 0.5]


def test_huge_logits_neither_overflow_nor_warn() -> None:
    logits = np.array([[3e38, -3e38, 0, 0, 0, 0, 0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        answer = probabilities({"logits": logits}, model(*OWN, activation=Activation.SOFTMAX, temperature=0.05))
    assert answer[0].tolist() == [1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_row_that_is_not_finite_is_nan_and_harms_no_other(bad: float) -> None:
    logits = np.zeros((2, 7), np.float32)
    logits[0, 3] = bad
    answer = probabilities({"logits": logits}, model(*OWN, activation=Activation.SOFTMAX))
    assert np.isnan(answer[0]).all()
    assert answer[1].tolist() == pytest.approx([1 / 7] * 7)


def test_row_without_any_known_weight_is_nan() -> None:
    manifest = model(("happy", Expression.HAPPY), ("contempt", None), activation=Activation.NONE)
    assert np.isnan(probabilities({"logits": np.array([[0.0, 1.0]], np.float32)}, manifest)).all()


def test_shape_that_does_not_fit_is_explained() -> None:
    with pytest.raises(ValueError, match=r"shape \[2, 5\]; 7 labels need \[N, 7\]"):
        probabilities({"logits": np.zeros((2, 5), np.float32)}, model(*OWN, activation=Activation.SOFTMAX))


def test_no_rows() -> None:
    answer = probabilities({"logits": np.zeros((0, 7), np.float32)}, model(*OWN, activation=Activation.SOFTMAX))
    assert answer.shape == (0, 7)
