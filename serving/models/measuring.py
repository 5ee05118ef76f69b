"""How fast a way of running a model is, one run or several at once, and whether the machine was quiet meanwhile.

A disturbance only ever adds time. So everything is looked at twice or more, some time apart, and the least counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from serving.models.backends.base import Rows
from serving.repository.manifest import Encoding, InputSpec
from serving.user_cache import user_cache

LEAST_SHARE = 0.85
"""Of the CPUs that were asked for; with less, others were at work, and what was measured is not the model's."""
MOST_LOOKS = 3
"""At one way of running a model, while the least two of them do not agree."""
_AGREED = 1.1
"""The least two looks agree, if they are no further apart: on a quiet machine two looks at the same differ by 5 %."""
_LOOK_SECONDS = 0.02
_SPIN = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Timing:
    """Rows a second of all runs together, least milliseconds of a run, milliseconds of CPU a row."""

    rows_per_second: float
    run_ms: float
    cpu_ms: float


def least(looks: Sequence[Timing]) -> Timing:
    """The best of each figure; `looks` is not empty."""
    return Timing(
        max(look.rows_per_second for look in looks),
        min(look.run_ms for look in looks),
        min(look.cpu_ms for look in looks),
    )


def agreed(looks: Sequence[Timing]) -> bool:
    """Whether two looks at least found the same, and none found less: then nothing disturbed them."""
    for figure in ("run_ms", "cpu_ms"):
        best, *others = sorted(getattr(look, figure) for look in looks)
        if not others or others[0] > _AGREED * best:
            return False
    return True


def timed(run: Callable[[Rows], object], rows: Rows, runs: int, seconds: float) -> Timing:
    """Runs back to back for `seconds`, after one that does not count; each caller makes one at least.

    Args:
        run: safe to call from `runs` threads.
        rows: of one run.
        runs: at once, 1 or more.
        seconds: of the measurement.
    """
    run(rows)
    durations: list[list[float]] = [[] for _ in range(runs)]
    end = time.perf_counter() + seconds

    def work(own: list[float]) -> None:
        while not own or time.perf_counter() < end:
            started = time.perf_counter()
            run(rows)
            own.append(time.perf_counter() - started)

    others = [threading.Thread(target=work, args=(own,)) for own in durations[1:]]
    cpu = time.process_time()
    for thread in others:
        thread.start()
    work(durations[0])
    for thread in others:
        thread.join()
    cpu = time.process_time() - cpu
    rate = sum(len(rows) / float(np.median(own)) for own in durations)
    done = sum(len(own) for own in durations)
    return Timing(rate, min(map(min, durations)) * 1000, cpu * 1000 / (done * len(rows)))


def cpu_share(cpus: int) -> float:
    """How much of `cpus` CPUs this process gets when it wants them all, (0, 1]: about 1 on a machine that is quiet."""
    end = time.perf_counter() + _LOOK_SECONDS
    taken = [0.0] * cpus

    def spin(index: int) -> None:
        started = time.thread_time()
        while time.perf_counter() < end:
            hashlib.sha256(_SPIN)
        taken[index] = time.thread_time() - started

    began = time.perf_counter()
    threads = [threading.Thread(target=spin, args=(index,)) for index in range(cpus)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return min(1.0, sum(taken) / (cpus * (time.perf_counter() - began)))


def quiet_share(cpus: int, patience: float) -> float:
    """`cpu_share`, looked at again for `patience` seconds as long as it is below `LEAST_SHARE`."""
    end = time.monotonic() + patience
    while (share := cpu_share(cpus)) < LEAST_SHARE and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS * 10)
    return share


@contextmanager
def alone(patience: float) -> Iterator[None]:
    """Services that start together measure one after the other. Where that cannot be arranged they do not wait.

    Args:
        patience: seconds to wait for the others at most.
    """
    with contextlib.ExitStack() as held:
        cache = user_cache()
        if cache is None:
            yield
            return
        try:
            folder = cache / "tuning"
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / "measuring.lock").open("w"))
        except OSError:
            yield
            return
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.05)
        yield


def probe(spec: InputSpec, batch: int, frame: tuple[int, int] | None = None) -> Rows:
    """Smooth random input of the model's shape, the same at every call.

    Args:
        spec: of the model; says whether these are float32 [batch, C, H, W] or uint8 [batch, H, W, C].
        batch: rows.
        frame: width and height; None: the full ones.
    """
    width, height = frame or spec.frames[0]
    generator = np.random.default_rng(0)
    coarse = generator.random((batch, spec.channels, 8, 8), np.float32)
    rows = coarse.repeat(-(-height // 8), axis=2).repeat(-(-width // 8), axis=3)[:, :, :height, :width]
    if spec.encoding is Encoding.BYTES:
        return np.ascontiguousarray((rows * 255).astype(np.uint8).transpose(0, 2, 3, 1))
    mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (spec.mean, spec.std))
    return np.ascontiguousarray((rows - mean) / std, np.float32)
