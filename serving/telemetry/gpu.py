"""How busy the GPUs of this process are, read from the driver (NVML); nothing where there is no GPU."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.telemetry import metrics

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One GPU at one moment.

    Attributes:
        gpu: its index among those that this process sees, from 0.
        utilization: share of the last moments in which it computed, [0, 1]; None: the driver does not say (MIG).
        memory: bytes in use, of all processes; None: the driver does not say.
    """

    gpu: str
    utilization: float | None
    memory: int | None


Read = Callable[[], Sequence[Reading]]


def watch(connect: Callable[[], Read] | None = None, interval: float = INTERVAL_SECONDS) -> Watch:
    """Keeps ferry_gpu_utilization_ratio and ferry_gpu_memory_bytes current, from a thread of its own.

    A driver that hangs or fails costs these metrics and nothing else.

    Args:
        connect: opens the driver and returns how to read it; by default NVML. Raising means that there is no GPU.
        interval: seconds between two readings.
    """
    return Watch(connect or nvml, interval)


class Watch:
    """The thread; it ends by itself where there is no GPU, and with the process."""

    def __init__(self, connect: Callable[[], Read], interval: float) -> None:
        self._connect = connect
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-metrics", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Ends the readings; waits at most `timeout` seconds for one that is under way."""
        self._stopped.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            read = self._connect()
        except Exception as error:
            log.debug("no GPU metrics: %s", error)
            return
        shown: set[str] = set()
        failing = False
        while not self._stopped.is_set():
            try:
                readings = read()
            except Exception as error:
                # Once: what is wrong with a driver stays wrong for long.
                if not failing:
                    log.warning("the GPUs cannot be read: %s", error)
                failing, readings = True, ()
            else:
                failing = False
            shown = _show(readings, shown)
            self._stopped.wait(self._interval)


def _show(readings: Sequence[Reading], before: set[str]) -> set[str]:
    """Sets the gauges; a GPU that is not heard of any more leaves them, for its last value would be a lie."""
    now = {reading.gpu for reading in readings}
    for gauge, values in (
        (metrics.GPU_UTILIZATION, {r.gpu: r.utilization for r in readings}),
        (metrics.GPU_MEMORY, {r.gpu: r.memory for r in readings}),
    ):
        for gpu in before | now:
            value = values.get(gpu)
            if value is not None:
                gauge.labels(gpu).set(value)
            else:
                with contextlib.suppress(KeyError):
                    gauge.remove(gpu)
    return now


def nvml() -> Read:
    """NVML through the package nvidia-ml-py.

    Raises:
        ImportError: the package is not installed, as in images without a GPU.
        pynvml.NVMLError: there is no driver.
        RuntimeError: there is no GPU.
    """
    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    if not handles:
        raise RuntimeError("the driver knows no GPU")

    def read() -> list[Reading]:
        readings = []
        for index, handle in enumerate(handles):
            utilization = memory = None
            with contextlib.suppress(pynvml.NVMLError_NotSupported):
                utilization = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            with contextlib.suppress(pynvml.NVMLError_NotSupported):
                memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
            readings.append(Reading(str(index), utilization, memory))
        return readings

    return read
