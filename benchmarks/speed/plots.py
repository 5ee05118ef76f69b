"""Bars of a benchmark's ratios beside their aims."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(record: dict[str, Any], folder: Path) -> list[Path]:
    """Draws what `record` holds; nothing where matplotlib (of the toolchain) is missing.

    Args:
        record: as `ferry bench speed --json` prints it.
        folder: where the pictures go; made where missing.

    Returns:
        The pictures written.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    mpl.use("agg")
    from matplotlib import pyplot as plt

    bars: list[tuple[str, float, float]] = []
    if "end_to_end" in record:
        bars.append(("cluster / no server", record["end_to_end"]["ratio_bare"], 0.85))
        if record["end_to_end"]["ratio_naive"] is not None:
            bars.append(("optimised cluster / PyTorch", record["end_to_end"]["ratio_naive"], 2.0))
    if "cached" in record:
        bars.append(("cached / echo, throughput", record["cached"]["throughput_share"], 0.55))
        bars.append(("echo / cached, p50", 1 / record["cached"]["latency_factor"], 0.5))
    if not bars:
        return []
    figure, axes = plt.subplots(figsize=(8, 0.7 * len(bars) + 1.4), layout="constrained")
    names, values, aims = zip(*bars, strict=True)
    axes.barh(names, values, color="#3b76af")
    axes.scatter(aims, names, marker="|", s=600, color="#c44e52", label="aim", zorder=3)
    for name, value in zip(names, values, strict=True):
        axes.text(value, name, f" {value:.2f}", va="center")
    axes.set_xlabel("ratio, taken in one run; longer is better")
    axes.set_title(f"{record['machine']}, {record['cpus']} CPUs", fontsize=9)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmarks.png"
    figure.savefig(path, dpi=120)
    return [path]
