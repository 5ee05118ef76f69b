"""Distributions of answers, read from the metrics of gateways."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.routing.distributions import BOUNDS, CELLS, Counts, difference, nothing
from serving.telemetry.scrape import Scrape, addresses, fetch, parse

_HISTOGRAMS = {
    "confidence": "ferry_face_confidence",
    "face_size": "ferry_face_size_pixels",
    "brightness": "ferry_face_brightness",
    "faces": "ferry_faces_per_image",
}


ByProcess = dict[str, dict[str, Counts]]
"""Counts by variant, of each gateway since it started."""


def read(endpoints: Sequence[str]) -> ByProcess:
    """What every gateway has counted.

    Args:
        endpoints: host:port of their metrics; a name stands for all its addresses.

    Raises:
        OSError: one of them does not answer, or not with metrics: without it the rest is another population.
    """
    found: ByProcess = {}
    for endpoint in endpoints:
        known = addresses(endpoint)
        for address, text in map(fetch, known):
            if not text:
                raise OSError(f"no metrics at {address}; give HOST:PORT of the metrics of every gateway")
            try:
                found[address] = of(parse(address, text))
            except ValueError as error:
                raise OSError(f"what {address} says are no metrics: {error}") from error
        if not known:
            raise OSError(f"nobody knows the name {endpoint}; give HOST:PORT of the metrics of every gateway")
    return found


def together(later: ByProcess, earlier: ByProcess) -> dict[str, Counts]:
    """What was counted in between by variant, of all gateways.

    One that started in between counts with all it has counted; what one counted that has gone is not known.
    """
    found: dict[str, Counts] = {}
    for process, variants in later.items():
        before = earlier.get(process, {})
        if any(_fell(counts, before.get(variant, nothing())) for variant, counts in variants.items()):
            before = {}
        for variant, counts in variants.items():
            kept = found.setdefault(variant, nothing())
            more = difference(counts, before.get(variant, nothing()))
            found[variant] = {name: [a + b for a, b in zip(kept[name], more[name], strict=True)] for name in CELLS}
    return found


def _fell(later: Counts, earlier: Counts) -> bool:
    return any(one < other for name in CELLS for one, other in zip(later[name], earlier[name], strict=True))


def of(scrape: Scrape) -> dict[str, Counts]:
    """Counts by variant on one page."""
    found: dict[str, Counts] = {}
    for labels, value in scrape.values.get("ferry_computed_faces_total", {}).items():
        named = dict(labels)
        if named.get("expression") in CELLS["expression"]:
            cell = CELLS["expression"].index(named["expression"])
            found.setdefault(named.get("variant", ""), nothing())["expression"][cell] = round(value)
    for name, metric in _HISTOGRAMS.items():
        for labels, histogram in scrape.histograms.get(metric, {}).items():
            up_to = dict(histogram.buckets)
            below = 0.0
            cells = found.setdefault(dict(labels).get("variant", ""), nothing())[name]
            for cell, bound in enumerate(BOUNDS[name]):
                here = up_to.get(bound, up_to.get(math.inf, below))
                cells[cell] = round(here - below)
                below = here
    return found
