"""What every model has to reach, whatever it is compared with: chance loses nothing against chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FLOOR = {"accuracy": 0.3, "f1": 0.3, "recall": 0.3, "precision": 0.3}
"""Least shares. Who always says `happy` is right about 0.25 of FER2013's public_test, who guesses about 0.14."""


def below_floor(figures: Mapping[str, Any]) -> str:
    """Which figure is below its floor, in words; empty where none is.

    Args:
        figures: of one model on labelled pictures, shares by name; names without a floor are not looked at.
    """
    for name, least in FLOOR.items():
        value = figures.get(name)
        if value is not None and not float(value) >= least:  # NaN is below as well
            return f"{name} {value:.3f} is below {least:g}, which is hardly better than chance"
    return ""


class BelowFloorError(RuntimeError):
    """A model that nothing should be held to; the message says why."""


def require_floor(what: str, figures: Mapping[str, Any]) -> None:
    """That a model is worth being compared with.

    Raises:
        BelowFloorError: it is not.
    """
    low = below_floor(figures)
    if low:
        raise BelowFloorError(f"{what}: {low}; whatever equals it would pass, so it is not taken as a measure")
