"""A step of load: several processes send at one rate together, and their latencies are added up."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from benchmarks.load.mix import Mix
from benchmarks.load.schedule import Arrivals
from benchmarks.load.worker import UNSENT, histogram

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 1.5
"""From the order to the first request: processes import, connect and draw their pictures meanwhile."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
ANSWERED = ("OK", "DEGRADED")


@dataclass(frozen=True, slots=True)
class Load:
    """How to send.

    Attributes:
        address: the gateway's.
        mix: what.
        arrivals: when.
        seconds: how long each step lasts.
        processes: that send.
        timeout: deadline of a call, seconds.
        seed: of all chance.
        period: seconds after which all chance begins anew: what is sent when in one period is so in the next.
        events: keep each request's time, latency and code.
        client: send with Ferry's own client, which tries again where that is right; else each call is sent once.
    """

    address: str
    mix: Mix
    arrivals: Arrivals = Arrivals.POISSON
    seconds: float = 10.0
    processes: int = 2
    timeout: float = 10.0
    seed: int = 16
    period: float = math.inf
    events: bool = False
    client: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a step.

    Attributes:
        rate: that was wanted, a second.
        sent: what was really sent, a second; UNSENT ones do not count.
        per_second: answered while the step lasted, degraded ones included; what waits at its end does not count.
        percentiles: percent to milliseconds, of what was answered, from when it was due; see also `percentile`.
        codes: gRPC's, how often; UNSENT: too many waited already.
        late_ms: by how much the latest request was sent late; large: the senders are the limit.
        events: due (seconds from the start), latency (seconds), code; where they were kept.
    """

    rate: float
    sent: float
    per_second: float
    percentiles: dict[float, float]
    codes: dict[str, int]
    late_ms: float
    histogram: str
    events: tuple[tuple[float, float, str], ...] = ()

    @property
    def failed(self) -> float:
        """Share that got no answer."""
        total = sum(self.codes.values())
        return 1 - self.answered / total if total else 0.0

    @property
    def answered(self) -> int:
        """How many got an answer."""
        return sum(self.codes.get(code, 0) for code in ANSWERED)

    def percentile(self, share: float) -> float:
        """Milliseconds; NaN where too few were answered to tell it from the slowest one."""
        enough = round(self.answered * (100 - share), 6) >= 100
        return self.percentiles[share] if enough else math.nan

    def record(self) -> dict[str, Any]:
        """For JSON."""
        known = {share: None if math.isnan(self.percentile(share)) else ms for share, ms in self.percentiles.items()}
        fields = {name: value for name, value in asdict(self).items() if name != "events"}
        return fields | {"percentiles": known, "failed": self.failed}


def send(load: Load, rate: float) -> Step:
    """Runs one step to its end, the last call's answer or deadline included."""
    with sending(load, rate) as sent:
        return sent.result()


class Sending:
    """A step under way."""

    def __init__(self, load: Load, rate: float) -> None:
        self._load, self._rate = load, rate
        self.start = time.time() + START_SECONDS
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load.worker"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(load.processes)
        ]
        for index, process in enumerate(self._processes):
            order = {
                "address": load.address,
                "mix": asdict(load.mix),
                "arrivals": load.arrivals,
                "rate": rate / load.processes,
                "seconds": load.seconds,
                "timeout": load.timeout,
                "seed": load.seed + index,
                "period": load.period,
                "start": self.start,
                "events": load.events,
                "client": load.client,
            }
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()

    def stop_in(self, seconds: float) -> None:
        """Sends nothing any more after so many seconds, if it would still send then."""
        end = time.time() - self.start + seconds
        for process in self._processes:
            assert process.stdin is not None
            with suppress(OSError, ValueError):  # it has ended
                process.stdin.write(f"{end}\n")
                process.stdin.flush()

    def result(self) -> Step:
        """Waits for its end.

        Raises:
            RuntimeError: a process died.
        """
        total, codes, late, in_time = histogram(), Counter[str](), 0.0, 0
        events: list[tuple[float, float, str]] = []
        for process in self._processes:
            out, _ = process.communicate(timeout=self._load.seconds + self._load.timeout + 60)
            if process.returncode:
                raise RuntimeError(f"a process that sends ended with {process.returncode}")
            part = json.loads(out)
            total.add(HdrHistogram.decode(part["histogram"]))
            codes.update(part["codes"])
            late = max(late, part["late"])
            in_time += part["in_time"]
            events += [(due, took, code) for due, took, code in part["events"]]
        sent = sum(count for code, count in codes.items() if code != UNSENT)
        return Step(
            self._rate,
            sent / self._load.seconds,
            in_time / self._load.seconds,
            {share: total.get_value_at_percentile(share) / 1000 for share in PERCENTILES},
            dict(codes),
            late * 1000,
            total.encode().decode(),
            tuple(sorted(events)),
        )

    def end(self) -> None:
        """Kills what still sends."""
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def sending(load: Load, rate: float) -> Iterator[Sending]:
    """A step that runs beside whatever is done meanwhile."""
    step = Sending(load, rate)
    try:
        yield step
    finally:
        step.end()
