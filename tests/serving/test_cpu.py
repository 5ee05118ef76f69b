"""A container's share of the host counts, not the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving import cpu
from serving.cpu import available_cpus, take_share


@pytest.fixture(autouse=True)
def _sixty_four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("140000 100000", 1),
        ("10000 100000", 1),
        ("50000 50000\n", 1),
        ("6400000 100000", 64),
        ("99999999 100000", 64),
        ("max 100000", 64),
        ("garbage", 64),
        ("", 64),
        ("100000 0", 64),
    ],
)
def test_cgroup_v2(tmp_path: Path, content: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert available_cpus(tmp_path) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("300000", "100000", 3), ("50000", "100000", 1), ("-1", "100000", 64), ("300000", "0", 64), ("x", "y", 64)],
)
def test_cgroup_v1(tmp_path: Path, quota: str, period: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text(period)
    assert available_cpus(tmp_path) == expected


def test_without_a_cgroup_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert available_cpus(tmp_path / "absent") == 1


def test_the_processor_has_a_name() -> None:
    assert cpu.cpu_name()


@pytest.mark.parametrize(
    ("processor", "vnni", "bf16"),
    [
        ("plain", False, False),
        ("avx2", False, False),
        ("vnni", True, False),
        ("bf16", True, True),
        ("arm", True, True),
    ],
    indirect=["processor"],
)
def test_what_a_processor_can_do_is_read_from_its_flags(processor: str, vnni: bool, bf16: bool) -> None:
    assert (cpu.has_vnni(), cpu.has_bf16()) == (vnni, bf16)


@pytest.mark.parametrize("processor", ["real"], indirect=True)
def test_this_processor_has_flags_where_linux_lists_them(processor: str) -> None:
    listed = Path("/proc/cpuinfo")
    assert cpu.cpu_flags() or not listed.exists() or "flags" not in listed.read_text()


def test_a_share_limits_what_is_counted_on_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_share", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    counted = []
    for share in (0, 1, 3, 8, 0):
        take_share(share)
        counted.append(available_cpus(tmp_path))
    assert counted == [4, 1, 3, 4, 4]
