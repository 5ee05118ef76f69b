"""Gains of the cluster: the result cache, and micro-batching."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc

from benchmarks.closed_loop import LoadResult, closed_loop
from benchmarks.gains.row import Figures, Row
from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

CALLERS = (8, 32, 128)


def caching(models_dir: Path, seconds: float) -> Iterator[Row]:
    """The same photo again, answered from the cache, against computing it."""
    with Cluster(ClusterSettings(port=0, models_dir=models_dir, log_level="warning")) as cluster:
        computed = asyncio.run(drive(cluster.address, 1, seconds, bypass_cache=True))
        cached = asyncio.run(drive(cluster.address, 1, seconds, bypass_cache=False))
    yield Row(
        "result caching",
        "cluster",
        "near-instant",
        "computed each time, 1 caller",
        _figures(computed),
        _figures(cached),
    )


def micro_batching(models_dir: Path, seconds: float) -> Iterator[Row]:
    """Requests of different callers in one model run, against one request at a time, by number of callers."""
    loads: list[list[LoadResult]] = []
    for size in (1, None):
        settings = ClusterSettings(port=0, models_dir=models_dir, cache=False, batch_size=size, log_level="warning")
        with Cluster(settings) as cluster:
            loads.append([asyncio.run(drive(cluster.address, n, seconds, bypass_cache=True)) for n in CALLERS])
    for before, after in zip(*loads, strict=True):
        refused = sum(load.errors for load in (before, after))
        yield Row(
            f"micro-batching, {before.callers} callers",
            "cluster",
            "throughput at 8, 32, 128 callers",
            "one request at a time",
            _figures(before),
            _figures(after),
            f"{refused} calls refused or failed" if refused else "",
        )


def _figures(load: LoadResult) -> Figures:
    return Figures(load.per_second, load.p50_ms)


async def drive(address: str, callers: int, seconds: float, *, bypass_cache: bool) -> LoadResult:
    """The photo with one face, asked for again and again by `callers` at the same time."""
    request = gateway_pb2.RecognizeRequest(image=one_face(), bypass_cache=bypass_cache)
    async with grpc.aio.insecure_channel(target(address), options=channel_options("benchmark")) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)

        async def call(_: int) -> None:
            await stub.Recognize(request, timeout=60)

        return await closed_loop(call, callers, seconds)
