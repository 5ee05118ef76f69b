"""What a class means is known or asked, never guessed."""

from __future__ import annotations

import pytest

from modelkit.importing.errors import CheckpointError
from modelkit.importing.labels import make_labels, parse_without
from serving.expressions import EXPRESSIONS, Expression

SEVEN = ["Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]


def test_the_usual_names_are_understood_and_what_is_no_expression_is_left_out() -> None:
    labels = make_labels([*SEVEN, "Contempt", "Unknown", "NF"], {})
    assert [label.expression for label in labels] == [*EXPRESSIONS, None, None, None]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([*SEVEN[:-1], "Suprise"], "'Suprise': did you mean surprised?"),
        ([*SEVEN[:4], "Natural", *SEVEN[5:]], "'Natural': did you mean neutral?"),
        (["Angery", "Digust", "Feer", "Hapy", "Nuetral", "Sadd", "Suprised"], "'Angery': did you mean angry?"),
        ([*SEVEN, "boredom"], "'boredom': --map 'boredom=EXPRESSION'. Or --map CLASS=none to leave it out"),
        ([str(n) for n in range(7)], "no class of this model is an expression: 0, 1, 2, 3, 4, 5, 6"),
        ([f"LABEL_{n}" for n in range(30)], "… (30 classes). If these are but numbers"),
        (["愤怒", "快乐"], "no class of this model is an expression: 愤怒, 快乐"),
        (SEVEN[:-1], "no class means surprised: the model would never answer that"),
        (["happy", "sad"], "--without angry,disgust,fear,neutral,surprised"),
        ([*SEVEN, "Anger"], "two classes are named 'Anger'"),
        (["Contempt", "Unknown"], "no class means an expression"),
    ],
)
def test_what_is_not_known_is_refused_with_a_way_out(names: list[str], says: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        make_labels(names, {})
    assert says in str(refused.value)
    assert len(str(refused.value)) < 800


def test_the_ways_out_lead_out() -> None:
    labels = make_labels(["Suprise", "happy", "boredom"], {"Suprise": "surprised", "boredom": "none"},
                         without=parse_without(["angry, disgust", "fear,neutral", "Sadness"]))  # fmt: skip
    assert [label.expression for label in labels] == [Expression.SURPRISED, Expression.HAPPY, None]


def test_without_names_what_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="--without happy, but a class means happy"):
        make_labels(SEVEN, {}, without=[Expression.HAPPY])
    with pytest.raises(CheckpointError, match="--without 'boredom': choose from angry"):
        parse_without(["boredom"])


def test_faces_are_for_detectors() -> None:
    assert [label.expression for label in make_labels(["Human Face"], {}, detector=True)] == [None]
    with pytest.raises(CheckpointError, match="'face' is no expression"):
        make_labels([*SEVEN, "x"], {"x": "face"})
    with pytest.raises(CheckpointError, match="'unknown': --map"):
        make_labels(["face", "unknown"], {}, detector=True)


def test_what_is_far_from_every_expression_offers_none() -> None:
    with pytest.raises(CheckpointError, match="no class of this detector is a face or an expression: person, bicycle"):
        make_labels(["person", "bicycle", "car", "cat"], {}, detector=True)
    with pytest.raises(CheckpointError, match=r"'car': --map 'car=EXPRESSION'. Or --map CLASS=face"):
        make_labels(["face", "car"], {}, detector=True)
