"""How far the answers of lately are from those of a reference window, as metrics by variant."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field, model_validator

from gateway.experiments.distance import psi, two_sample
from gateway.routing.distributions import CELLS, Counts, difference, nothing
from serving.config_file import ConfigFileError, read_bytes, read_config
from serving.frozen import Frozen
from serving.telemetry import metrics
from serving.watched_file import WatchedFile

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
LEAST_IMAGES = 200
"""Computed answers of lately before they are compared: fewer are always far from anything."""


class Baseline(Frozen):
    """A reference window, as `ferry drift baseline` writes it."""

    variant: str = Field(description="whose answers they are", max_length=63)
    made: float = Field(description="end of the window, Unix time in seconds", ge=0)
    seconds: float = Field(description="length of the window", gt=0)
    counts: Mapping[str, tuple[int, ...]] = Field(description="by distribution, how much fell into each of its cells")

    @model_validator(mode="after")
    def _fits(self) -> Baseline:
        for name, cells in CELLS.items():
            found = self.counts.get(name, ())
            if len(found) != len(cells) or min(found, default=-1) < 0 or not sum(found):
                raise ValueError(f"counts.{name}: must be {len(cells)} numbers of 0 or more, one of them above 0")
        return self


class DriftWatch:
    """Compares a sliding window of each variant's answers with the baseline. One event loop."""

    def __init__(self, path: Path, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            path: of the baseline; followed while it changes.
            window: seconds that count as lately.
            clock: seconds.

        Raises:
            ConfigFileError: the file cannot be read or does not fit.
        """
        self._file = WatchedFile(
            "drift baseline", lambda: read_config(path, Baseline), lambda: read_bytes(path), errors=(ConfigFileError,)
        )
        self._window = window
        self._clock = clock
        self._seen: dict[str, deque[tuple[float, Counts]]] = {}

    async def run(self, present: Callable[[], Mapping[str, Counts]]) -> None:
        """Looks every LOOK_SECONDS, for ever; `present` gives each variant's counts since the start."""
        while True:
            try:
                self.look(present())
            except Exception as error:
                log.exception("drift is not known: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self, present: Mapping[str, Counts]) -> None:
        """Compares now."""
        self._file.look()
        now = self._clock()
        for variant in self._seen.keys() - present.keys():
            del self._seen[variant]
            for name in CELLS:
                for gauge in (metrics.DRIFT_PSI, metrics.DRIFT_P):
                    gauge.remove(variant, name)
        for variant, counts in present.items():
            seen = self._seen.setdefault(variant, deque([(now, nothing())]))
            seen.append((now, {name: list(cells) for name, cells in counts.items()}))
            while len(seen) > 2 and seen[1][0] <= now - self._window:
                seen.popleft()
            self._show(variant, difference(seen[-1][1], seen[0][1]))

    def _show(self, variant: str, lately: Counts) -> None:
        enough = sum(lately["faces"]) >= LEAST_IMAGES
        for name, reference in self._file.value.counts.items():
            if name not in CELLS:
                continue
            known = enough and sum(lately[name]) > 0
            metrics.DRIFT_PSI.labels(variant, name).set(psi(reference, lately[name]) if known else 0.0)
            metrics.DRIFT_P.labels(variant, name).set(two_sample(reference, lately[name]) if known else 1.0)
