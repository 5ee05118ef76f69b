"""What each choice brings, of tiny models and few pictures."""

from pathlib import Path

import pytest

from benchmarks.choices.accuracy import gains
from benchmarks.choices.measure import Choice
from tests.modelkit.judging.faces import picture, write_parquet
from tests.tiny_models import classifier_graph, classifier_manifest, publish


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """arcface is sure that a bright face is happy, efficientnet that it is sad."""
    root = tmp_path / "models"
    publish(root, classifier_manifest("arcface"), classifier_graph((0, 0, 0, 8, 0, 0, 0)))
    publish(root, classifier_manifest("efficientnet"), classifier_graph((0, 0, 0, 0, 0, 8, 0)))
    return root


def test_each_choice_is_judged_by_what_most_people_saw(models: Path, tmp_path: Path) -> None:
    data = write_parquet(
        tmp_path / "x.parquet",
        [0, 0, 0],
        [picture(255, noise=i) for i in range(3)],
        votes_happy=[9, 8, 0],
        votes_sad=[0, 0, 9],
    )
    both = {"arcface": 0.3, "efficientnet": 0.7}
    asked = (
        Choice("arcface", {"arcface": 1.0}),
        Choice("vote", both),
        Choice("views", both, views=True),
        Choice("spared", {"arcface": 0.3, "efficientnet": 0.7}, ask_below={"efficientnet": 0.2}),
        Choice("asked", {"arcface": 0.3, "efficientnet": 0.7}, ask_below={"efficientnet": 1.0}),
    )
    found = gains(models, asked, data)
    assert {name: gain.n for name, gain in found.items()} == dict.fromkeys(found, 3)
    right = {name: round(3 * gain.accuracy) for name, gain in found.items()}
    assert right == {"arcface": 2, "vote": 1, "views": 1, "spared": 2, "asked": 1}
    assert {name: gain.mean_recall for name, gain in found.items()} == dict.fromkeys(found, 0.5)
    assert {name: gain.further for name, gain in found.items()} == {
        "arcface": None,
        "vote": None,
        "views": None,
        "spared": 0,
        "asked": 1,
    }
    assert gains(models, asked[:1], data, limit=2)["arcface"].n == 2
