"""A cached answer through one gateway process against a bare grpc.aio echo of the same sizes, in the same run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

from benchmarks.closed_loop import LoadResult, closed_loop
from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from cli.cluster.ports import free
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

CALLERS = 16
REQUEST_BYTES = 60_000
THROUGHPUT_SHARE = 0.55
LATENCY_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Cached:
    """Echo and gateway, with one caller and with sixteen."""

    echo_one: LoadResult
    gateway_one: LoadResult
    echo_many: LoadResult
    gateway_many: LoadResult

    @property
    def throughput_share(self) -> float:
        return self.gateway_many.per_second / self.echo_many.per_second

    @property
    def latency_factor(self) -> float:
        return self.gateway_one.p50_ms / self.echo_one.p50_ms

    def record(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self) | {"throughput_share": self.throughput_share, "latency_factor": self.latency_factor}


def measure(models_dir: Path, seconds: float) -> Cached:
    """Each of the four loops runs for `seconds`."""
    settings = ClusterSettings(port=0, models_dir=models_dir, log_level="warning")
    with Cluster(settings) as cluster:
        return asyncio.run(_measure(cluster.address, seconds))


async def _measure(address: str, seconds: float) -> Cached:
    photo = one_face()
    request = gateway_pb2.RecognizeRequest(image=photo + bytes(max(0, REQUEST_BYTES - len(photo))))
    (port,) = free(1)
    with tempfile.NamedTemporaryFile() as file:
        async with _stub(address) as gateway:
            for _ in range(10):
                answer = await gateway.Recognize(request, timeout=30)
                if answer.cached:
                    break
            else:
                raise RuntimeError("no answer came from the cache")
            Path(file.name).write_bytes(answer.SerializeToString())
            echo_process = subprocess.Popen([sys.executable, "-m", "benchmarks.echo_server", str(port), file.name])
            try:
                async with _stub(f"127.0.0.1:{port}") as echo:
                    await echo.Recognize(request, timeout=30, wait_for_ready=True)
                    return Cached(
                        echo_one=await _loop(echo, request, 1, seconds),
                        gateway_one=await _loop(gateway, request, 1, seconds),
                        echo_many=await _loop(echo, request, CALLERS, seconds),
                        gateway_many=await _loop(gateway, request, CALLERS, seconds),
                    )
            finally:
                echo_process.terminate()
                echo_process.wait(10)


class _stub:  # noqa: N801
    """A stub on its own channel, closed at the end."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(target(address), options=channel_options("benchmark"))

    async def __aenter__(self) -> gateway_pb2_grpc.ExpressionRecognitionAsyncStub:
        return gateway_pb2_grpc.ExpressionRecognitionStub(self._channel)

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


async def _loop(
    stub: gateway_pb2_grpc.ExpressionRecognitionAsyncStub,
    request: gateway_pb2.RecognizeRequest,
    callers: int,
    seconds: float,
) -> LoadResult:
    async def call(_: int) -> None:
        await stub.Recognize(request, timeout=30)

    return await closed_loop(call, callers, seconds)
