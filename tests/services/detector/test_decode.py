"""The YOLOv8/11 output as candidates, for any labels, and whatever numbers it holds."""

import numpy as np
import pytest

from services.detector.decode import MAX_CANDIDATES, decode
from serving.expressions import INDEX, Expression
from serving.repository.manifest import Activation, ScoreRule

from .conftest import MakeManifest


def output(*anchors: list[float]) -> np.ndarray:
    return np.array(anchors, np.float32).T


def test_boxes_scores_and_probabilities_by_hand(make_manifest: MakeManifest) -> None:
    raw = output([20, 30, 8, 4, 0.1, 0, 0, 0.3, 0, 0, 0], [10, 10, 4, 4, 0, 0, 0, 0, 0.6, 0.2, 0])
    found = decode(raw, make_manifest(), 0.25)
    assert np.allclose(found.boxes, [[8, 8, 12, 12], [16, 28, 24, 32]])
    assert np.allclose(found.scores, [0.6, 0.3])
    assert np.allclose(found.probabilities, [[0, 0, 0, 0, 0.75, 0.25, 0], [0.25, 0, 0, 0.75, 0, 0, 0]])


def test_the_sum_rule_adds_up_what_ambiguity_splits_and_stops_at_one(make_manifest: MakeManifest) -> None:
    raw = output([9, 9, 4, 4, 0.1, 0, 0, 0.1, 0.1, 0, 0], [9, 9, 4, 4, 0.9, 0, 0, 0.9, 0, 0, 0])
    found = decode(raw, make_manifest(rule=ScoreRule.SUM), 0.25)
    assert np.allclose(found.scores, [1.0, 0.3])
    assert len(decode(raw, make_manifest(rule=ScoreRule.MAX), 0.25).scores) == 1


def test_labels_map_by_name_in_any_order_and_number(make_manifest: MakeManifest) -> None:
    labels = {"sadness": Expression.SAD, "contempt": None, "joy": Expression.HAPPY, "laughter": Expression.HAPPY}
    found = decode(output([9, 9, 4, 4, 0.2, 0.9, 0.3, 0.3]), make_manifest(labels), 0.25)
    assert found.scores[0] == np.float32(0.9)
    assert np.isclose(found.probabilities[0, INDEX[Expression.SAD]], 0.25)
    assert np.isclose(found.probabilities[0, INDEX[Expression.HAPPY]], 0.75)


def test_a_one_class_face_model_has_no_opinion_on_expression(make_manifest: MakeManifest) -> None:
    found = decode(output([9, 9, 4, 4, 0.8]), make_manifest({"face": None}), 0.25)
    assert found.scores.tolist() == [np.float32(0.8)]
    assert np.isnan(found.probabilities).all()


def test_temperature_flattens_and_sharpens_without_changing_the_order(make_manifest: MakeManifest) -> None:
    raw = output([9, 9, 4, 4, 0.64, 0.16, 0, 0, 0, 0, 0])
    assert np.allclose(decode(raw, make_manifest(temperature=2.0), 0.1).probabilities[0, :2], [2 / 3, 1 / 3])
    assert np.allclose(decode(raw, make_manifest(temperature=0.5), 0.1).probabilities[0, :2], [16 / 17, 1 / 17])


def test_logits_are_activated_by_the_manifests_rule(make_manifest: MakeManifest) -> None:
    labels = {"happy": Expression.HAPPY, "sad": Expression.SAD}
    raw = output([9, 9, 4, 4, 0.0, np.log(3)], [9, 9, 4, 4, -1e4, 1e4])
    sigmoid = decode(raw, make_manifest(labels, activation=Activation.SIGMOID), 0.25)
    assert np.allclose(sigmoid.scores, [1.0, 0.75])
    softmax = decode(raw, make_manifest(labels, activation=Activation.SOFTMAX), 0.25)
    assert np.allclose(softmax.probabilities[1, [INDEX[Expression.HAPPY], INDEX[Expression.SAD]]], [0.25, 0.75])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "anchor",
    [
        [np.nan, 9, 4, 4, 0.9, 0, 0, 0, 0, 0, 0],
        [9, 9, np.inf, 4, 0.9, 0, 0, 0, 0, 0, 0],
        [9, 9, 4, 4, np.nan, 0, 0, 0, 0, 0, 0],
        [9, 9, 4, 4, 0.9, 0, -np.inf, 0, 0, 0, 0],
        [9, 9, 0, 4, 0.9, 0, 0, 0, 0, 0, 0],
        [9, 9, 4, -4, 0.9, 0, 0, 0, 0, 0, 0],
    ],
)
def test_broken_numbers_drop_their_anchor_only(make_manifest: MakeManifest, anchor: list[float]) -> None:
    good = [20.0, 30, 8, 4, 0, 0, 0, 0.5, 0, 0, 0]
    found = decode(output(anchor, good), make_manifest(), 0.25)
    assert found.boxes.tolist() == [[16, 28, 24, 32]]


@pytest.mark.filterwarnings("error")
def test_huge_numbers_stay_finite(make_manifest: MakeManifest) -> None:
    top = np.finfo(np.float32).max
    found = decode(output([top, -top, top, top, top, top, 0, 0, 0, 0, -top]), make_manifest(rule=ScoreRule.SUM), 0.25)
    assert np.isfinite(found.boxes).all()
    assert found.scores.tolist() == [1.0]
    assert np.allclose(found.probabilities, [[0.5, 0.5, 0, 0, 0, 0, 0]])


def test_only_the_surest_candidates_go_on(make_manifest: MakeManifest) -> None:
    raw = np.zeros((11, 8400), np.float32)
    raw[:4] = [[9], [9], [4], [4]]
    raw[7] = np.linspace(0.3, 0.9, 8400)
    found = decode(raw, make_manifest(), 0.25)
    assert len(found.scores) == MAX_CANDIDATES
    assert found.scores[0] == np.float32(0.9)


@pytest.mark.parametrize("shape", [(84, 8400), (8400, 11), (11,), (1, 11, 8400)])
def test_an_output_that_does_not_fit_the_manifest_is_named(make_manifest: MakeManifest, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="7 label"):
        decode(np.zeros(shape, np.float32), make_manifest(), 0.25)
