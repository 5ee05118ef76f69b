"""Experiments that are made up: how labels fall, and which variant is better by how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.running import Running, follow, follow_pairs

BASELINE = 0.84
PER_CALLER = 20.0
SIZE_BIASED = PER_CALLER * 1.5 + 1
"""Labels of the caller that a label comes from, on average: a gamma of shape 2 varies by half of its mean squared."""

LIKENESS = 0.1
DISAGREEMENT = 0.10
Make = Callable[[np.random.Generator, int, float], Running]


@dataclass(frozen=True)
class Scenario:
    """One kind of experiment.

    Attributes:
        name: what the figure calls it.
        make: random numbers, labels and the true difference to the estimates after each label.
        plan: what `cli.ab.plan.plan` is told of it, beside baseline and effect.
    """

    name: str
    make: Make
    plan: dict[str, float]


def each_label_a_caller(random: np.random.Generator, labels: int, effect: float) -> Running:
    """Half of the labels to each arm."""
    arms = random.integers(0, 2, labels)
    right = (random.random(labels) < BASELINE + effect * arms).astype(float)
    return follow(right, arms, np.arange(labels))


def callers_that_repeat(random: np.random.Generator, labels: int, effect: float) -> Running:
    """Callers differ in how hard their pictures are, and stay with their arm; a few send most."""
    callers = max(int(labels / PER_CALLER), 2)
    activity = random.gamma(2.0, size=callers)
    whose = random.choice(callers, labels, p=activity / activity.sum())
    arm_of = random.integers(0, 2, callers)
    level = BASELINE + effect * arm_of
    concentration = 1 / LIKENESS - 1  # of a beta distribution whose draws correlate by LIKENESS
    hardness = random.beta(level * concentration, (1 - level) * concentration)
    return follow((random.random(labels) < hardness[whose]).astype(float), arm_of[whose], whose)


def pictures_that_change(random: np.random.Generator, labels: int, effect: float) -> Running:
    """The pictures become harder and easier again, by a tenth either way, twice during the experiment."""
    arms = random.integers(0, 2, labels)
    level = BASELINE - 0.05 + 0.1 * np.sin(np.linspace(0, 4 * np.pi, labels))
    right = (random.random(labels) < level + effect * arms).astype(float)
    return follow(right, arms, np.arange(labels))


def both_answer_each_face(random: np.random.Generator, labels: int, effect: float) -> Running:
    """A shadow answers what stable answers; in a tenth of the faces one of them is right and the other wrong."""
    draw = random.random(labels)
    better, worse = (DISAGREEMENT + effect) / 2, (DISAGREEMENT - effect) / 2
    return follow_pairs((draw < better).astype(float) - (draw > 1 - worse).astype(float))


SCENARIOS = (
    Scenario("each label from another caller", each_label_a_caller, {"baseline": BASELINE}),
    Scenario(
        "20 labels a caller, alike by 0.1",
        callers_that_repeat,
        {"baseline": BASELINE, "labels_per_caller": SIZE_BIASED, "likeness": LIKENESS},
    ),
    Scenario("pictures that become harder and easier", pictures_that_change, {"baseline": BASELINE - 0.05}),
    Scenario("pairs of a shadow", both_answer_each_face, {"baseline": BASELINE, "disagreement": DISAGREEMENT}),
)
