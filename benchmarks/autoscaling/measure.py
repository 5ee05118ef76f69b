"""Measures what an image costs each service, in CPU seconds, for the simulator and for `ferry capacity`.

CPU time and not the clock: it is what a CPU limit grants, and other work on the machine disturbs it little. Everything
runs on one CPU with one thread a model, as in a pod of the manifests.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
from PIL import Image
from redis import Redis

from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from deploy.capacity.costs import Costs, Line, ServiceCost
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.cpu import cpu_name
from serving.models import tuning
from serving.repository.repository import ModelRepository

BATCHES = (1, 2, 4, 8, 16)
_PREFIX = "classifier-"


def measure(models_dir: Path, images: int = 200, seconds: float = 1.0) -> Costs:
    """The costs on this machine.

    Args:
        models_dir: the model repository.
        images: sent through a local cluster, and again to its cache.
        seconds: for each size of a model run.
    """
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        load = os.getloadavg()[0]
        runs = _runs(models_dir, seconds)
        with Cluster(ClusterSettings(port=0, models_dir=models_dir, threads=1, log_level="warning")) as cluster:
            return _through(cluster, runs, images, load)
    finally:
        os.sched_setaffinity(0, mine)


def write(costs: Costs, path: Path) -> None:
    """As `read_costs` reads it, microseconds being exact enough."""
    record = json.loads(json.dumps(costs.record()), parse_float=lambda text: round(float(text), 6))
    path.write_text(json.dumps(record, indent=2) + "\n")


def _runs(models_dir: Path, seconds: float) -> dict[str, dict[int, float]]:
    """CPU seconds of a run by service and rows, in float32 as the services run it."""
    recipe = read_recipe(DEFAULT_RECIPE)
    repository = ModelRepository(models_dir)
    names = {recipe.detector.name: recipe.detector.name} | {_PREFIX + c.name: c.name for c in recipe.classifiers}
    found: dict[str, dict[int, float]] = {}
    for service, name in names.items():
        stored = repository.open(name, "stable")
        backend = tuning.load(stored, tuning.choose(stored, threads=1))
        found[service] = {}
        for batch in BATCHES:
            rows = tuning.probe(stored.manifest.input, batch)
            found[service][batch] = _cpu_seconds(lambda b=backend, r=rows: b.run(r), seconds)  # type: ignore[misc]
    return found


def _cpu_seconds(call: Callable[[], object], seconds: float) -> float:
    """Median CPU seconds of this process for one call."""
    call()
    durations: list[float] = []
    end = time.process_time() + seconds
    while len(durations) < 5 or time.process_time() < end:
        started = time.process_time()
        call()
        durations.append(time.process_time() - started)
    return statistics.median(durations)


def _through(cluster: Cluster, runs: dict[str, dict[int, float]], images: int, load: float) -> Costs:
    photo = one_face()
    with grpc.insecure_channel(target(cluster.address), options=channel_options("benchmark")) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)

        def recognize(image: bytes, bypass: bool) -> gateway_pb2.RecognizeResponse:
            return stub.Recognize(gateway_pb2.RecognizeRequest(image=image, bypass_cache=bypass), timeout=30)

        def cost(call: Callable[[], object]) -> dict[str, float]:
            for _ in range(10):
                call()
            before = _cpu(cluster)
            for _ in range(images):
                call()
            after = _cpu(cluster)
            return {name: (after[name] - before[name]) / images for name in before}

        computed = cost(lambda: recognize(photo, True))
        cached = cost(lambda: recognize(photo, False))["gateway"]
        answers = [recognize(image, False) for image in (_without_face(), photo)]
    if [len(answer.faces) for answer in answers] != [0, 1]:
        raise RuntimeError("the pictures to measure with must have no face and one face")
    services = {
        name: ServiceCost(max(0.0, seconds - runs.get(name, {1: 0.0})[1]), runs.get(name, {}))
        for name, seconds in computed.items()
        if name != "valkey"
    }
    recipe = read_recipe(DEFAULT_RECIPE)
    return Costs(
        machine=cpu_name(),
        note=f"CPU seconds on one CPU, float32, one thread a model; load average {load:.1f} when the measuring began; "
        f"JPEG 640 x 480 of {len(photo)} bytes with one face",
        services=services,
        cached_seconds=cached,
        image_bytes=len(photo),
        crop_bytes=recipe.crop_size**2 * 3,
        answer_bytes=_line([answer.ByteSize() for answer in answers]),
        entry_bytes=_line(_entries(cluster)),
    )


def _cpu(cluster: Cluster) -> dict[str, float]:
    """CPU seconds of each process of the cluster until now."""
    times = {endpoint.name: psutil.Process(endpoint.pid).cpu_times() for endpoint in cluster.endpoints}
    return {name: t.user + t.system for name, t in times.items()}


def _entries(cluster: Cluster) -> list[int]:
    """Bytes of every entry in Redis, the smallest first."""
    with Redis(unix_socket_path=cluster.endpoint("valkey").address.removeprefix("unix://")) as redis:
        sizes = (redis.memory_usage(key) for key in redis.scan_iter("ferry:result:*"))
        return sorted(int(size) for size in sizes if size)


def _line(sizes: list[int]) -> Line:
    """Through the answer without a face and the one with one."""
    without, with_one = sizes
    return Line(without, with_one - without)


def _without_face() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 480), (128, 160, 96)).save(buffer, "JPEG")
    return buffer.getvalue()
