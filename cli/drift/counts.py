"""Distributions of answers, read from the metrics of gateways."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.routing.distributions import BOUNDS, CELLS, Counts, nothing
from serving.telemetry.scrape import Scrape, fetch, parse

_HISTOGRAMS = {
    "confidence": "ferry_face_confidence",
    "face_size": "ferry_face_size_pixels",
    "brightness": "ferry_face_brightness",
    "faces": "ferry_faces_per_image",
}


def read(addresses: Sequence[str]) -> dict[str, Counts]:
    """Counts by variant, of all gateways together since each of them started.

    Args:
        addresses: host:port of their metrics.

    Raises:
        OSError: one of them does not answer: without it the rest is another population.
    """
    found: dict[str, Counts] = {}
    for address in addresses:
        _, text = fetch(address)
        if not text:
            raise OSError(f"no metrics at {address}; give HOST:PORT of the metrics of every gateway")
        for variant, counts in of(parse(address, text)).items():
            kept = found.setdefault(variant, nothing())
            for name, cells in counts.items():
                kept[name] = [one + other for one, other in zip(kept[name], cells, strict=True)]
    return found


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
