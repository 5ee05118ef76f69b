"""The pictures: how often a verdict was false by then, how often a difference was found, what blocked a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.experiments.cache import ALLOWED, CacheOutcome
from benchmarks.experiments.ratio import RatioOutcome
from benchmarks.experiments.simulate import ALPHA, LEVEL, Curve, Outcome
from benchmarks.experiments.steps import StepsOutcome
from benchmarks.experiments.whole import WholeOutcome
from cli.ab.share import RATIO_ALPHA

POWER = 0.8
"""What `ferry ab plan` promises unless it is told otherwise."""


def draw(
    outcomes: Sequence[Outcome],
    whole: WholeOutcome,
    ratio: RatioOutcome,
    steps: StepsOutcome,
    cache: CacheOutcome,
    folder: Path,
) -> list[Path]:
    """Writes all pictures; returns where they lie: nowhere where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    names = ("false-verdicts", "found", "whole-report", "sample-ratio", "steps", "cache")
    files = [folder / f"{name}.png" for name in names]
    _panels(outcomes, files[0], "false verdicts so far, share", _false_verdicts)
    _panels(outcomes, files[1], "differences found so far, share", _found)
    with _one(files[2], "labels of all variants together", "false reports so far, share") as axis:
        _curve(axis, whole.uncorrected_alarms, "0.6", "each metric of each variant at the whole level")
        _curve(axis, whole.alarms, "C0", "ferry ab")
        axis.axhline(ALPHA, color="C3", lw=0.8, ls="--", label="promised")
    with _one(files[3], "callers", "verdicts blocked so far, share") as axis:
        _curve(axis, ratio.finds, "C0", "48 : 52 in place of 50 : 50")
        _curve(axis, ratio.alarms, "0.6", "50 : 50, no fault")
        axis.axhline(RATIO_ALPHA, color="C3", lw=0.8, ls="--", label="allowed without a fault")
    with _one(files[4], "labels", "false verdicts so far, share") as axis:
        _curve(axis, steps.pooled_alarms, "0.6", "means over all of it")
        _curve(axis, steps.alarms, "C0", "ferry ab: within each routing table")
        axis.axhline(LEVEL, color="C3", lw=0.8, ls="--", label="allowed")
    with _one(files[5], "images", "called worse so far, share") as axis:
        _curve(axis, cache.counting_hits_alarms, "0.6", "answers from the cache count")
        _curve(axis, cache.alarms, "C0", "ferry ab: what was computed")
        axis.axhline(ALLOWED, color="C3", lw=0.8, ls="--", label="allowed")
    return files


def _false_verdicts(axis: Any, outcome: Outcome) -> None:
    _curve(axis, outcome.common_alarms, "0.6", "interval for one look, looked at always")
    _curve(axis, outcome.alarms, "C0", "ferry ab")
    axis.axhline(ALPHA, color="C3", lw=0.8, ls="--", label="promised")
    axis.set_ylim(0, 0.6)


def _found(axis: Any, outcome: Outcome) -> None:
    _curve(axis, outcome.found, "C0", "right verdict")
    axis.axhline(POWER, color="C3", lw=0.8, ls="--", label="promised at the planned number")
    axis.axvline(outcome.planned, color="0.6", lw=0.8, label=f"planned: {outcome.planned:,}")
    axis.set_ylim(0, 1)


def _curve(axis: Any, shares: Curve, color: str, label: str) -> None:
    axis.plot(range(1, len(shares) + 1), shares, color=color, label=label)


def _panels(outcomes: Sequence[Outcome], path: Path, what: str, fill: Callable[[Any, Outcome], None]) -> None:
    """One panel a scenario."""
    from matplotlib.figure import Figure

    rows = -(-len(outcomes) // 2)
    figure = Figure(figsize=(9, 2.6 * rows), dpi=100, layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False, sharey=True)
    for panel, outcome in zip(panels.ravel(), outcomes, strict=False):
        fill(panel, outcome)
        panel.set_title(outcome.name, fontsize=9)
        panel.set_xlabel("labels")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    for panel in panels[:, 0]:
        panel.set_ylabel(what)
    for panel in panels.ravel()[len(outcomes) :]:
        panel.set_visible(False)
    figure.savefig(path)


@contextmanager
def _one(path: Path, along: str, up: str) -> Iterator[Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    axis = figure.subplots()
    yield axis
    axis.set(xlabel=along, ylabel=up)
    axis.set_ylim(0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    figure.savefig(path)
