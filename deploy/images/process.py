"""What the kernel says of a container's process: who it is, what it may do, how much it uses and may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60
"""Above this, version 1 of control groups means that there is no limit."""


@dataclass(frozen=True)
class Process:
    """One process and its control group."""

    user: int
    capabilities: int
    """Bit mask of those it has or could get."""
    can_gain_privileges: bool
    filtered: bool
    """Whether seccomp filters its system calls."""
    read_only_root: bool
    peak: int
    """Bytes that its control group was charged for at most: its own memory and what it read of files."""
    charged: int
    """Bytes its control group is charged for now, less what the kernel would drop at once; kubelet evicts by it."""
    at_limit: int
    """How often the limit was reached and the kernel had to make room."""
    memory_limit: int | None
    """Bytes."""
    cpu_limit: float | None


def process(pid: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Process:
    """
    Args:
        pid: on this machine.
        proc: where the kernel's files on processes are.
        cgroups: where those on control groups are, of version 1 or 2.
    """
    folder = proc / str(pid)
    status = {
        key: value.strip()
        for key, _, value in (line.partition(":") for line in (folder / "status").read_text().splitlines())
    }
    group = _control_group((folder / "cgroup").read_text(), cgroups)
    return Process(
        user=int(status["Uid"].split()[0]),
        capabilities=int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status["CapBnd"], 16),
        can_gain_privileges=status["NoNewPrivs"] != "1",
        filtered=status["Seccomp"] == "2",
        read_only_root=_read_only_root((folder / "mounts").read_text()),
        peak=group.peak,
        charged=group.charged,
        at_limit=group.at_limit,
        memory_limit=group.memory_limit,
        cpu_limit=group.cpu_limit,
    )


def _read_only_root(mounts: str) -> bool:
    options = [fields[3].split(",") for fields in map(str.split, mounts.splitlines()) if fields[1] == "/"]
    return "ro" in options[-1]


@dataclass(frozen=True)
class _Group:
    peak: int
    charged: int
    at_limit: int
    memory_limit: int | None
    cpu_limit: float | None


def _control_group(listing: str, root: Path) -> _Group:
    groups = {names: path for _, names, path in (line.split(":", 2) for line in listing.splitlines())}
    for names, path in groups.items():
        if "memory" in names.split(","):
            cpu = next(path for names, path in groups.items() if "cpu" in names.split(","))
            return _version_1(root / "memory" / path[1:], root / "cpu" / cpu[1:])
    return _version_2(root / groups[""][1:])


def _version_1(memory: Path, cpu: Path) -> _Group:
    limit = int((memory / "memory.limit_in_bytes").read_text())
    quota, period = (int((cpu / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    return _Group(
        peak=int((memory / "memory.max_usage_in_bytes").read_text()),
        charged=int((memory / "memory.usage_in_bytes").read_text()) - _value(memory, "stat", "total_inactive_file"),
        at_limit=int((memory / "memory.failcnt").read_text()),
        memory_limit=None if limit > _UNLIMITED else limit,
        cpu_limit=quota / period if quota > 0 else None,
    )


def _version_2(group: Path) -> _Group:
    limit = (group / "memory.max").read_text().strip()
    quota, period = (group / "cpu.max").read_text().split()
    # The kernel keeps the peak from 5.19 on.
    peak = group / "memory.peak"
    return _Group(
        peak=int((peak if peak.exists() else group / "memory.current").read_text()),
        charged=int((group / "memory.current").read_text()) - _value(group, "stat", "inactive_file"),
        at_limit=_value(group, "events", "max"),
        memory_limit=None if limit == "max" else int(limit),
        cpu_limit=None if quota == "max" else int(quota) / int(period),
    )


def _value(group: Path, file: str, name: str) -> int:
    lines = (group / f"memory.{file}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.split()[0] == name))
