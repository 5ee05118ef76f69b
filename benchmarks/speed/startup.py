"""Cold start to SERVING and memory, for each service alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from cli.cluster.ports import free
from ferry.client import Client

START_SECONDS = 5.0
MEMORY_MB = {"gateway": 150.0, "ensembler": 500.0, "detector": 500.0, "classifier": 500.0}
REQUESTS = 50


@dataclass(frozen=True, slots=True)
class Startup:
    """One service."""

    service: str
    first_start_seconds: float
    start_seconds: float
    memory_mb: float

    @property
    def memory_limit_mb(self) -> float:
        return MEMORY_MB[self.service.split("-")[0]]


def measure(models_dir: Path) -> list[Startup]:
    """Starts each service alone, first without and then with measurements kept; then the cluster, for memory."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "models"
        shutil.copytree(models_dir, fresh, ignore=shutil.ignore_patterns("tuning-*", "tuned-*"))
        return _measure(fresh)


def _measure(models_dir: Path) -> list[Startup]:
    common = ["--models-dir", str(models_dir)]
    services = {
        "gateway": ["-m", "gateway", "--ensembler-address", "127.0.0.1:1"],
        "ensembler": ["-m", "services.ensembler"],
        "detector": ["-m", "services.detector", *common],
        "classifier-efficientnet": ["-m", "services.classifier", *common, "--models", "efficientnet"],
        "classifier-arcface": ["-m", "services.classifier", *common, "--models", "arcface"],
    }
    starts = {name: [_seconds_to_serving(arguments) for _ in range(2)] for name, arguments in services.items()}
    memory = _memory(models_dir)
    return [Startup(name, first, second, memory[name]) for name, (first, second) in starts.items()]


def _seconds_to_serving(arguments: list[str]) -> float:
    """From the start of the process to the health service's SERVING."""
    (port,) = free(1)
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments, "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.perf_counter() - started < 60:
                try:
                    answer = stub.Check(  # type: ignore[attr-defined]
                        health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True
                    )
                except grpc.RpcError:
                    continue
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return time.perf_counter() - started
                time.sleep(0.01)
        raise RuntimeError(f"{' '.join(arguments)} was not SERVING within 60 s")
    finally:
        process.terminate()
        process.wait(30)


def _memory(models_dir: Path) -> dict[str, float]:
    """Resident memory in MB of each process of a cluster that has answered some requests."""
    photo = one_face()
    settings = ClusterSettings(port=0, models_dir=models_dir, log_level="warning")
    with Cluster(settings) as cluster, Client(cluster.address) as client:
        for number in range(REQUESTS):
            client.recognize(photo + bytes(number))
        return {e.name: psutil.Process(e.pid).memory_info().rss / 1e6 for e in cluster.endpoints}
