"""Calls that are given up, many, and a process's memory while they come."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import numpy as np
import psutil

from benchmarks.photo import one_face
from cli.cluster import ports
from ferry.v1 import gateway_pb2

Recognize: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"

AT_ONCE = 16
GIVEN_UP_AFTER = 0.02
"""Seconds: the call has reached the handler by then."""
READINGS = 20
WARM = 5
"""Readings that do not count: allocators settle."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What cancelled calls leave behind.

    Attributes:
        calls: how many were cancelled.
        bytes_a_call: slope of the resident memory, by least squares over the readings after the first few.
        error: its standard error.
        resident: of the process at the end, bytes.
    """

    calls: int
    bytes_a_call: float
    error: float
    resident: int


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process, killed in the end."""
    process = subprocess.Popen([sys.executable, "-P", *command], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def measure_bare(calls: int) -> Growth:
    """A server of grpc.aio alone."""
    (port,) = ports.free(1)
    with running("-m", "benchmarks.cancelled.silent", str(port)) as server:
        return asyncio.run(_measure(f"127.0.0.1:{port}", server.pid, calls))


def measure_gateway(calls: int) -> Growth:
    """Ferry's gateway before an ensembler that never answers, with all that it does for a call."""
    behind, port = ports.free(2)
    with (
        running("-m", "benchmarks.cancelled.silent", str(behind)),
        running("-m", "gateway", "--port", str(port), "--ensembler-address", f"127.0.0.1:{behind}",
                "--no-cache-enabled", "--log-level", "error") as gateway,
    ):  # fmt: skip
        return asyncio.run(_measure(f"127.0.0.1:{port}", gateway.pid, calls))


async def _measure(address: str, pid: int, calls: int) -> Growth:
    """Raises TimeoutError where the server does not come up within a minute."""
    process = psutil.Process(pid)
    request = gateway_pb2.RecognizeRequest(image=one_face()).SerializeToString()
    each = max(AT_ONCE, calls // READINGS)
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        recognize: Recognize = channel.unary_unary("/ferry.v1.ExpressionRecognition/Recognize")
        readings = []
        for reading in range(READINGS):
            await _cancel(recognize, request, each)
            readings.append(((reading + 1) * each, process.memory_info().rss))
    x, y = np.array(readings[WARM:], float).T
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return Growth(each * READINGS, float(slope), float(covariance[0, 0] ** 0.5), readings[-1][1])


async def _cancel(recognize: Recognize, request: bytes, calls: int) -> None:
    left = calls

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            call = recognize(request, timeout=60)
            await asyncio.sleep(GIVEN_UP_AFTER)
            call.cancel()
            await call.code()

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
