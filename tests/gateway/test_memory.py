"""What strangers and callers can make a gateway hold: a process with the settings of its manifest, against their limit.
Measured by the kernel (VmHWM, VmRSS): a limit of address space would count what is never touched."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from deploy.capacity.quantity import quantity
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.gateway.fakes import jpeg, running_ensembler
from tests.processes import ROOT, SERVING, free_port, health, process
from tests.serving.peer import Peer, connected

pytestmark = pytest.mark.e2e
MIB = 1 << 20
LARGEST_IMAGE = 10 * MIB
RECOGNIZE = "/ferry.v1.ExpressionRecognition/Recognize"
KEY = (("authorization", "Bearer s3cret"),)
UNAUTHENTICATED = 16
MANIFEST = yaml.safe_load((ROOT / "deploy/k8s/base/gateway.yaml").read_text().split("\n---")[0])
CONTAINER = MANIFEST["spec"]["template"]["spec"]["containers"][0]
LIMIT = int(quantity(CONTAINER["resources"]["limits"]["memory"]))
VARIABLES = {
    variable["name"]: variable["value"]
    for variable in CONTAINER["env"]
    if "value" in variable and variable["name"] not in {"FERRY_PORT", "FERRY_ENSEMBLER_ADDRESS"}
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running process."""

    port: int
    pid: int

    def kernel_says(self, what: str) -> int:
        """Bytes of a line of its status, such as VmHWM, the most that it has held."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


@pytest.fixture
async def gateway(ensembler: Any, tmp_path: Path) -> AsyncIterator[Gateway]:
    keys, port = tmp_path / "keys", free_port()
    keys.write_text(f"shop {hashlib.sha256(b's3cret').hexdigest()}\n")
    async with running_ensembler(ensembler) as address:
        flags = ["--port", str(port), "--ensembler-address", address, "--api-keys", str(keys), "--log-level", "error"]
        with process(["-m", "gateway", *flags], **(VARIABLES | {"FERRY_HTTP_PORT": str(free_port())})) as started:
            async with asyncio.timeout(60):
                while await asyncio.to_thread(health, port, "ferry.v1.ExpressionRecognition") != SERVING:
                    assert started.poll() is None
                    await asyncio.sleep(0.05)
            running = Gateway(port, started.pid)
            await recognize_many(running, 4)
            await settled(running, LIMIT)
            yield running
            assert started.poll() is None


def image(number: int) -> bytes:
    """As large as any may be, and unlike the others."""
    picture = jpeg(number % 256)
    return picture + number.to_bytes(4, "big") * ((LARGEST_IMAGE - len(picture)) // 4)


async def recognize_many(gateway: Gateway, images: int) -> int:
    """Answers that a caller with a key gets, or errors that it is told for single images."""
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{gateway.port}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)

        async def requests() -> AsyncIterator[gateway_pb2.RecognizeManyRequest]:
            for number in range(images):
                request = gateway_pb2.RecognizeRequest(image=image(number))
                yield gateway_pb2.RecognizeManyRequest(request=request, images=images)

        return len([answer async for answer in stub.RecognizeMany(requests(), metadata=KEY, timeout=120)])


async def settled(gateway: Gateway, most: float) -> int:
    """Waits until it holds no more than `most` bytes; what it holds."""
    async with asyncio.timeout(60):
        while (held := gateway.kernel_says("VmRSS")) > most:
            await asyncio.sleep(0.1)
    return held


async def stall(peer: Peer, *metadata: tuple[str, str], size: int) -> int:
    stream = await peer.call(RECOGNIZE, *metadata)
    await peer.send(stream, b"\0" + size.to_bytes(4, "big") + bytes(size - 1), patience=1)
    return stream


async def test_strangers_who_stop_within_a_large_message_cost_nothing(gateway: Gateway) -> None:
    before = gateway.kernel_says("VmRSS")
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(gateway.port)) for _ in range(9)]
        streams = await asyncio.gather(*(stall(peer, size=62 * MIB) for peer in peers))
        for peer, stream in zip(peers, streams, strict=True):
            assert (await peer.status(stream))[0] == UNAUTHENTICATED
        assert gateway.kernel_says("VmHWM") < LIMIT
        assert gateway.kernel_says("VmRSS") < before + 9 * MIB
    assert await recognize_many(gateway, 1) == 1


async def test_the_largest_batches_at_once_and_messages_that_stall_stay_within_the_limit(gateway: Gateway) -> None:
    before = gateway.kernel_says("VmRSS")
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(gateway.port)) for _ in range(9)]
        stalling = [asyncio.create_task(stall(peer, *KEY, size=LARGEST_IMAGE)) for peer in peers]
        assert await asyncio.gather(*(recognize_many(gateway, 16) for _ in range(3))) == [16] * 3
        await asyncio.gather(*stalling)
    peak = gateway.kernel_says("VmHWM")
    assert peak < LIMIT, f"{peak / MIB:.0f} MiB"
    # Kept answers and threads that began with the load may stay; images may not.
    await settled(gateway, 1.3 * before)
