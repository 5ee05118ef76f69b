"""How many labels a question needs."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.ab import app
from cli.ab.plan import plan
from cli.ab.verdict import LEAST_CALLERS, LEAST_LABELS
from cli.verdicts import USAGE


def test_harder_questions_need_more_labels() -> None:
    usual = plan(0.84, 0.03).labels
    assert plan(0.84, 0.02).labels > usual
    assert usual < plan(0.84, 0.03, variants=3).labels < 1.5 * usual
    assert plan(0.84, 0.03, share=0.1).labels > usual
    assert plan(0.84, 0.03, power=0.95).labels > usual
    assert plan(0.84, 0.03, labels_per_caller=20, likeness=0.1).labels > 2 * usual
    assert plan(0.84, 0.03, labels_per_caller=20).labels == usual


def test_pairs_need_far_fewer() -> None:
    assert plan(0.84, 0.03, disagreement=0.1).labels < plan(0.84, 0.03).labels / 3


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_what_is_planned_is_enough_for_a_verdict(share: float) -> None:
    """However large the difference: a report says nothing of fewer than 100 labels a side."""
    labels = plan(0.4, 0.4, share=share).labels
    random = np.random.default_rng(1)
    of_new = random.binomial(labels, share, 5000)
    assert (np.minimum(of_new, labels - of_new) >= LEAST_LABELS).mean() >= 0.78


def test_what_is_planned_comes_from_enough_callers() -> None:
    assert plan(0.4, 0.4, disagreement=0.4).labels >= LEAST_LABELS
    assert plan(0.4, 0.4, labels_per_caller=50).labels >= 2 * LEAST_CALLERS * 50
    assert plan(0.4, 0.4, labels_per_caller=50, disagreement=0.4).labels == LEAST_CALLERS * 50


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("baseline", "nan"),
        ("baseline", "1"),
        ("effect", "0"),
        ("effect", "nan"),
        ("effect", "0.3"),
        ("effect", "1e-9"),
        ("share", "0"),
        ("alpha", "1.5"),
        ("power", "-1"),
        ("variants", "0"),
        ("labels-per-day", "0"),
        ("labels-per-caller", "inf"),
        ("likeness", "1"),
        ("disagreement", "0.001"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(option: str, value: str) -> None:
    options = {"baseline": "0.84", "effect": "0.03", option: value}
    run = CliRunner().invoke(app, ["plan", *(part for name, text in options.items() for part in (f"--{name}", text))])
    assert run.exit_code == USAGE
    assert f"--{option}" in run.output


def test_the_command_says_labels_and_days() -> None:
    arguments = ["plan", "--baseline", "0.84", "--effect", "0.03", "--labels-per-day", "1000"]
    said = CliRunner().invoke(app, arguments).output
    labels = plan(0.84, 0.03).labels
    assert f"{labels:,} labels" in said
    assert f"{labels / 1000:.1f} days" in said
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)["labels"] == labels
