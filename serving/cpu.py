"""How many CPUs this process may really use, and what kind they are."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_share = 0


def take_share(cpus: int) -> None:
    """From now on this process counts on that many CPUs at most, whatever it may use; 0: on all. For its first lines:
    what was made before has counted already."""
    global _share
    _share = cpus


def _quota(root: Path) -> float | None:
    """CPUs granted by the cgroup (v2, then v1) at `root`; None where there is no limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 and period_us > 0 else None
    except (OSError, ValueError):
        return None


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs by affinity, cgroup quota and the share taken, whichever is least; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    granted = affinity if quota is None else min(affinity, int(quota + 0.5) or 1)
    return max(1, min(granted, _share or granted))


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction set extensions by the kernel's names, such as `avx512_bf16`; empty where unknown."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


@cache
def cpu_name() -> str:
    """The processor's own name, with its family and model where that says more."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        return platform.processor() or platform.machine()
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields['cpu family']} model {fields['model']})" if "cpu family" in fields else name


def has_vnni() -> bool:
    """Whether the processor sums products of eight-bit numbers without saturating on the way, as AVX2 alone does."""
    return bool(cpu_flags() & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
