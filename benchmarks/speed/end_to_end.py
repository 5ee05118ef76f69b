"""Throughput of the whole cluster against the same models without a server, and against the naive way.

The photo is a one-face 640 x 480 JPEG; the cluster is asked by 32 callers and caches nothing. Without a server: the
best of one process, one for each CPU, and that in batches. The naive way is PyTorch eager float32, one image at a time,
with the same architectures; it needs the toolchain and is left out without it.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

from benchmarks.closed_loop import LoadResult, closed_loop
from benchmarks.photo import one_face
from benchmarks.speed import bare
from cli.cluster import Cluster, ClusterSettings
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

CALLERS = 32
AGAINST_BARE = 0.85
AGAINST_NAIVE = 2.0


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Images per second, and their ratios."""

    bare: float
    bare_way: str
    cluster: LoadResult
    cluster_optimized: LoadResult
    naive: float | None

    @property
    def ratio_bare(self) -> float:
        return self.cluster.per_second / self.bare

    @property
    def ratio_naive(self) -> float | None:
        return None if self.naive is None else self.cluster_optimized.per_second / self.naive

    def record(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self) | {"ratio_bare": self.ratio_bare, "ratio_naive": self.ratio_naive}


def measure(models_dir: Path, seconds: float) -> EndToEnd:
    """Runs all one after the other; each for `seconds`."""
    photo = one_face()
    cluster = _cluster(models_dir, photo, seconds, optimized=False)
    way, limit = bare.best(models_dir, photo, "fp32", seconds)
    optimized = _cluster(models_dir, photo, seconds, optimized=True)
    return EndToEnd(limit, way, cluster, optimized, _naive(photo, seconds))


def _cluster(models_dir: Path, photo: bytes, seconds: float, *, optimized: bool) -> LoadResult:
    settings = ClusterSettings(port=0, models_dir=models_dir, cache=False, optimized=optimized, log_level="warning")
    with Cluster(settings) as cluster:
        return asyncio.run(_drive(cluster.address, photo, seconds))


async def _drive(address: str, photo: bytes, seconds: float) -> LoadResult:
    request = gateway_pb2.RecognizeRequest(image=photo, bypass_cache=True)
    async with grpc.aio.insecure_channel(target(address), options=channel_options("benchmark")) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)

        async def call(_: int) -> None:
            answer = await stub.Recognize(request, timeout=30)
            if len(answer.faces) != 1 or answer.degraded:
                raise RuntimeError("the answer is not one complete face")

        return await closed_loop(call, CALLERS, seconds)


def _naive(photo: bytes, seconds: float) -> float | None:
    try:
        import torch  # noqa: F401
    except ImportError:
        return None
    from benchmarks.speed.naive import NaivePipeline

    return NaivePipeline().images_per_second(photo, seconds)
