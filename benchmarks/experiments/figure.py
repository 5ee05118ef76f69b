"""How often a verdict was false by then, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiments.simulate import ALPHA, Outcome


def draw(outcomes: Sequence[Outcome], path: Path) -> bool:
    """One panel a scenario: share of experiments without a difference that had a verdict after each label.

    False where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 2.6 * -(-len(outcomes) // 2)), dpi=100, layout="constrained")
    panels = figure.subplots(-(-len(outcomes) // 2), 2, squeeze=False, sharey=True).ravel()
    for panel, outcome in zip(panels, outcomes, strict=False):
        labels = range(1, len(outcome.alarms) + 1)
        panel.plot(labels, outcome.common_alarms, color="0.6", label="interval for one look, looked at always")
        panel.plot(labels, outcome.alarms, color="C0", label="ferry ab")
        panel.axhline(ALPHA, color="C3", lw=0.8, ls="--", label="promised")
        panel.set_title(outcome.name, fontsize=9)
        panel.set(xlabel="labels", ylim=(0, 0.6))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("false verdicts so far, share")
    panels[0].legend(fontsize=7)
    for panel in panels[len(outcomes) :]:
        panel.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
