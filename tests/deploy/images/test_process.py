"""What the kernel says of a process, read from files as it writes them; versions 1 and 2 of control groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.images.cluster import unconfined
from deploy.images.manifests import Pod
from deploy.images.process import process

STATUS = """\
Name:\tpython
Uid:\t1000\t1000\t1000\t1000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
"""
MOUNTS = "overlay / overlay ro,relatime,lowerdir=/a:/b 0 0\nproc /proc proc rw,nosuid 0 0\n"
POD = Pod("gateway", "", ("gateway",), "c", (), 50051, "ferry.v1.ExpressionRecognition", cpus=1.0, memory=512 << 20)

VERSION_1 = {
    "cgroup/memory/pods/one/memory.limit_in_bytes": "536870912\n",
    "cgroup/memory/pods/one/memory.usage_in_bytes": "73400320\n",
    "cgroup/memory/pods/one/memory.max_usage_in_bytes": "104857600\n",
    "cgroup/memory/pods/one/memory.failcnt": "3\n",
    "cgroup/memory/pods/one/memory.stat": "cache 1\ntotal_inactive_file 10485760\n",
    "cgroup/cpu/pods/one/cpu.cfs_quota_us": "100000\n",
    "cgroup/cpu/pods/one/cpu.cfs_period_us": "100000\n",
    "proc/7/cgroup": "4:memory:/pods/one\n2:cpu,cpuacct:/pods/one\n0::/pods/one\n",
}
VERSION_2 = {
    "cgroup/pods/one/memory.max": "536870912\n",
    "cgroup/pods/one/memory.current": "73400320\n",
    "cgroup/pods/one/memory.peak": "104857600\n",
    "cgroup/pods/one/memory.events": "low 0\nmax 3\noom 0\n",
    "cgroup/pods/one/memory.stat": "anon 1\ninactive_file 10485760\n",
    "cgroup/pods/one/cpu.max": "100000 100000\n",
    "proc/7/cgroup": "0::/pods/one\n",
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for path, text in {"proc/7/status": STATUS, "proc/7/mounts": MOUNTS, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2], ids=["v1", "v2"])
def test_use_and_limits_are_read(tmp_path: Path, files: dict[str, str]) -> None:
    folder = written(tmp_path, files)
    seen = process(7, folder / "proc", folder / "cgroup")
    assert (seen.user, seen.peak >> 20, seen.charged >> 20, seen.at_limit) == (1000, 100, 60, 3)
    assert (seen.memory_limit, seen.cpu_limit) == (512 << 20, 1.0)
    assert unconfined(POD, seen) == []


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    free = {"cgroup/pods/one/memory.max": "max\n", "cgroup/pods/one/cpu.max": "max 100000\n"}
    folder = written(tmp_path, {**VERSION_2, **free})
    seen = process(7, folder / "proc", folder / "cgroup")
    assert (seen.memory_limit, seen.cpu_limit) == (None, None)
    assert len(unconfined(POD, seen)) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"user": 0}, "runs as root"),
        ({"capabilities": 1}, "has capabilities"),
        ({"can_gain_privileges": True}, "may gain privileges"),
        ({"filtered": False}, "has no seccomp filter"),
        ({"read_only_root": False}, "can write to its root"),
        ({"memory_limit": 1}, "has a memory limit of 1, not 536870912"),
        ({"cpu_limit": 2.0}, "has a limit of 2.0 CPUs, not 1.0"),
    ],
)
def test_every_way_out_of_confinement_is_named(tmp_path: Path, change: dict, problem: str) -> None:
    folder = written(tmp_path, VERSION_2)
    seen = replace(process(7, folder / "proc", folder / "cgroup"), **change)
    assert unconfined(POD, seen) == [problem]
