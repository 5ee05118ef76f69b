"""Latency over load, the knee marked, and the latencies of the knee up to the rarest."""

from __future__ import annotations

from pathlib import Path

from hdrh.histogram import HdrHistogram

from benchmarks.load.knee import knee
from benchmarks.load.run import PERCENTILES, Step

COLOURS = ("#3b76af", "#5b9bd5", "#dd8452", "#c44e52")


def draw(steps: list[Step], title: str, path: Path) -> bool:
    """An SVG; False where matplotlib (of the toolchain) is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    over, spectrum = figure.subplots(1, 2)
    rates = [step.rate for step in steps]
    for share, colour in zip(PERCENTILES, COLOURS, strict=True):
        over.plot(rates, [step.percentile(share) for step in steps], "o-", color=colour, label=f"p{share:g}", ms=3)
    over.set_yscale("log")
    over.set_xlabel("requests/s sent")
    over.set_ylabel("ms from when a request was due")
    found = knee(steps) or steps[0]
    over.axvline(found.rate, color="#8c8c8c", linestyle="--", label=f"knee {found.rate:.0f}/s")
    over.legend(fontsize=7)
    values = HdrHistogram.decode(found.histogram)
    shares = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99]
    spectrum.plot(
        range(len(shares)), [values.get_value_at_percentile(share) / 1000 for share in shares], color="#3b76af"
    )
    spectrum.set_xticks(range(len(shares)), [f"{share:g}" for share in shares], fontsize=7)
    spectrum.set_xlabel(f"percentile at {found.rate:.0f}/s")
    spectrum.set_ylabel("ms")
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg")
    return True
