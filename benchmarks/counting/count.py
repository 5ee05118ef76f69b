"""Counts of one image's way through the services, each a process that counts for itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grpc

from benchmarks.photo import one_face
from cli.cluster import ClusterSettings
from cli.cluster.plan import plan
from cli.cluster.process import ProcessSpec
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

ROOT = Path(__file__).parent.parent.parent
IMAGES, ROUNDS = 20, 4
IDLE_SECONDS = 4.0
"""For which nothing is asked: what services do by themselves meanwhile, such as looks at each other, is no cost of an
image, however long that takes."""
START_SECONDS = 90
CACHED = "gateway, cached"


@dataclass(frozen=True, slots=True)
class Count:
    """Of one image in one service.

    Attributes:
        calls: into Ferry's code, and from it into C.
        kilobytes: the most that Python and NumPy held above what they held before it, 10^3 bytes.
    """

    calls: float
    kilobytes: float


def measure(models_dir: Path) -> dict[str, Count]:
    """By service, and of the gateway's cached answers.

    Models run on ONNX Runtime with one thread, whatever is fastest here: other ways take other calls.

    Raises:
        TimeoutError: a service does not start.
    """
    settings = ClusterSettings(port=0, models_dir=models_dir, embedded_redis=False, threads=1, log_level="error")
    with tempfile.TemporaryDirectory(prefix="ferry-counting-") as name, ExitStack() as stack:
        folder = Path(name)
        specs = plan(settings, folder)
        services = {spec.name: stack.enter_context(_running(spec, folder)) for spec in specs}
        for spec in specs:
            _until(spec.is_ready, spec.name)
        channel = stack.enter_context(grpc.insecure_channel(target(specs[0].address), channel_options("counting")))
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        computed = _count(services, stub, gateway_pb2.RecognizeRequest(image=one_face(), bypass_cache=True))
        cached = _count(services, stub, gateway_pb2.RecognizeRequest(image=one_face()))
        return {**computed, CACHED: cached["gateway"]}


class _Child:
    """A service that counts."""

    def __init__(self, process: subprocess.Popen[bytes], file: Path) -> None:
        self._process, self._file = process, file

    def read(self) -> dict[str, int]:
        """What it has counted since it started, and the peak since it was last asked."""
        self._file.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        _until(self._file.exists, "a count")
        counted: dict[str, int] = json.loads(self._file.read_text())
        return counted


@contextmanager
def _running(spec: ProcessSpec, folder: Path) -> Iterator[_Child]:
    _, module, *arguments = spec.command
    file = folder / f"{spec.name}.json"
    backend = ["--backend", "onnxruntime"] if module in {"services.detector", "services.classifier"} else []
    command = [sys.executable, "-m", "benchmarks.counting.child", str(file), module, *arguments, *backend]
    environment = {**os.environ, **spec.environment, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        yield _Child(process, file)
    finally:
        process.kill()
        process.wait()


def _count(
    services: Mapping[str, _Child],
    stub: gateway_pb2_grpc.ExpressionRecognitionStub,
    request: gateway_pb2.RecognizeRequest,
) -> dict[str, Count]:
    for _ in range(3):
        stub.Recognize(request, timeout=60, wait_for_ready=True)
    before_idle = _look(services)
    time.sleep(IDLE_SECONDS)
    looks = [_look(services)]
    for _ in range(ROUNDS):
        for _ in range(IMAGES // ROUNDS):
            stub.Recognize(request, timeout=60)
        looks.append(_look(services))
    counts = {}
    for name in services:
        by_itself = _calls(name, before_idle, looks[0]) / (looks[0].time - before_idle.time)
        rounds = list(pairwise(looks))
        # The least of the rounds: what a busy machine leaves of one call until the next is no cost of an image.
        calls = min(_calls(name, *ends) - by_itself * (ends[1].time - ends[0].time) for ends in rounds)
        peak = min(after.of[name]["peak"] - before.of[name]["current"] for before, after in rounds)
        counts[name] = Count(round(calls / (IMAGES // ROUNDS), 2), peak / 1000)
    return counts


@dataclass(frozen=True, slots=True)
class _Look:
    """What each service has counted so far, at a time in seconds."""

    time: float
    of: Mapping[str, dict[str, int]]


def _look(services: Mapping[str, _Child]) -> _Look:
    return _Look(time.monotonic(), {name: service.read() for name, service in services.items()})


def _calls(name: str, before: _Look, after: _Look) -> int:
    return after.of[name]["calls"] - before.of[name]["calls"]


def _until(holds: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what} did not come within {START_SECONDS} s")
        time.sleep(0.02)
