"""GPU metrics: there where a GPU is, and no harm anywhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from serving.telemetry import gpu
from serving.telemetry.gpu import Read, Reading


def shown(name: str, index: str = "0") -> float | None:
    return REGISTRY.get_sample_value(name, {"gpu": index})


UTILIZATION, MEMORY = "ferry_gpu_utilization_ratio", "ferry_gpu_memory_bytes"


class Driver:
    """Answers with `readings` (or raises them), and says when it has been asked `n` more times."""

    def __init__(self, *readings: Any) -> None:
        self.readings = list(readings)
        self.asked = threading.Semaphore(0)

    def connect(self) -> Read:
        return self.read

    def read(self) -> list[Reading]:
        self.asked.release()
        current = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(current, Exception):
            raise current
        return current  # type: ignore[no-any-return]

    def wait(self, times: int) -> None:
        for _ in range(times):
            assert self.asked.acquire(timeout=30)


@pytest.fixture
def watched() -> Iterator[Callable[[Driver], None]]:
    """Watches a driver; the gauges are empty again afterwards."""
    running: list[gpu.Watch] = []
    yield lambda driver: running.append(gpu.watch(driver.connect, 0.001))
    for watch in running:
        watch.stop(30)
    gpu._show((), {"0", "1"})


def test_every_gpu_is_shown(watched: Any) -> None:
    driver = Driver([Reading("0", 0.5, 1024), Reading("1", 0.0, 0)])
    watched(driver)
    driver.wait(2)  # the second reading begins when the first is shown
    assert (shown(UTILIZATION), shown(MEMORY)) == (0.5, 1024)
    assert (shown(UTILIZATION, "1"), shown(MEMORY, "1")) == (0, 0)


def test_what_the_driver_does_not_say_is_not_made_up(watched: Any) -> None:
    driver = Driver([Reading("0", None, 1024)])
    watched(driver)
    driver.wait(2)
    assert shown(UTILIZATION) is None
    assert shown(MEMORY) == 1024


def test_a_driver_that_fails_shows_nothing_and_is_asked_again(watched: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver([Reading("0", 0.5, 1024)], *[OSError("lost")] * 4, [Reading("0", 0.25, 512)])
    seen: list[float | None] = []
    read = driver.read
    driver.read = lambda: (seen.append(shown(UTILIZATION)), read())[1]  # type: ignore[method-assign]
    watched(driver)
    driver.wait(7)
    assert seen[1:3] == [0.5, None]
    assert shown(UTILIZATION) == 0.25
    assert caplog.text.count("lost") == 1


def test_without_a_gpu_nothing_is_shown_and_nothing_goes_on() -> None:
    def connect() -> Read:
        raise ImportError("No module named 'pynvml'")

    watch = gpu.watch(connect)
    watch._thread.join(30)
    assert not watch._thread.is_alive()
    assert shown(UTILIZATION) is None


def test_a_driver_that_hangs_keeps_nobody_from_stopping() -> None:
    entered, released = threading.Event(), threading.Event()

    def connect() -> Read:
        entered.set()
        released.wait(30)
        raise RuntimeError

    watch = gpu.watch(connect)
    assert entered.wait(30)
    watch.stop(timeout=0.01)
    assert watch._thread.daemon
    released.set()


class NotSupportedError(Exception):
    pass


class FakeNvml(SimpleNamespace):
    """The few functions of pynvml that are used: GPU 0 tells all, GPU 1 is a slice of one and tells its memory."""

    NVMLError_NotSupported = NotSupportedError

    def __init__(self, count: int) -> None:
        super().__init__(count=count, initialised=False)

    def nvmlInit(self) -> None:  # noqa: N802
        self.initialised = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        assert self.initialised
        return int(self.count)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        if handle == 1:
            raise NotSupportedError
        return SimpleNamespace(gpu=75, memory=10)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=(handle + 1) * 2**30)


def test_nvml_is_read_in_ferry_s_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(2))
    assert gpu.nvml()() == [Reading("0", 0.75, 2**30), Reading("1", None, 2**31)]


def test_a_driver_without_gpus_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(0))
    with pytest.raises(RuntimeError, match="no GPU"):
        gpu.nvml()


def test_the_real_package_has_what_is_used() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name in vars(FakeNvml):
        if name.startswith("nvml") or name.startswith("NVML"):
            assert hasattr(pynvml, name), name
