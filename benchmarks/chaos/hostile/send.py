"""Sends hostile inputs from one process. `python -m benchmarks.chaos.hostile.send ADDRESSES COUNT SEED` prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import grpc

from benchmarks.chaos.hostile.inputs import METHODS, SERVICE, Inputs
from ferry.transport import channel_options, target

SHARES = {"messages": 0.45, "frames": 0.25, "metadata": 0.22, "pictures": 0.05, "slow senders": 0.03}
"""Of all inputs. Pictures are few since each costs a hundred times as much as the others."""
WORKERS = {"messages": 8, "frames": 8, "metadata": 4, "pictures": 2, "slow senders": 200}
"""At once."""
TIMEOUT = 10.0
GRACE = 5.0
"""Seconds by which a call may end after its deadline."""
LISTEN_SECONDS = 0.05
SLOW_SECONDS = 5.0
CALLS_OF_A_CHANNEL = 2000


class Hostile:
    """Inputs against some gateways; counts what became of them, by kind."""

    def __init__(self, address: str, seed: int) -> None:
        """
        Args:
            address: `ip:port`, several separated by commas.
            seed: of all chance.
        """
        self._address = address
        self._inputs = Inputs(seed)
        self.codes: dict[str, Counter[str]] = {kind: Counter() for kind in SHARES}
        self.hung = 0

    async def run(self, count: int) -> None:
        """Sends so many, all kinds beside each other."""
        ways: dict[str, Callable[[Iterator[int]], Awaitable[None]]] = {
            "messages": self._messages,
            "frames": self._frames,
            "metadata": self._metadata,
            "pictures": self._pictures,
            "slow senders": self._slow,
        }
        workers = []
        for kind, way in ways.items():
            numbers = iter(range(max(1, round(count * SHARES[kind]))))
            workers += [way(numbers) for _ in range(WORKERS[kind])]
        await asyncio.gather(*workers)

    async def _messages(self, numbers: Iterator[int]) -> None:
        def draw() -> tuple[str, bytes, tuple[tuple[str, str | bytes], ...]]:
            return self._inputs.chance.choice(METHODS), self._inputs.message(), ()

        await self._calls("messages", numbers, draw)

    async def _metadata(self, numbers: Iterator[int]) -> None:
        await self._calls("metadata", numbers, lambda: (METHODS[0], b"", self._inputs.metadata()))

    async def _pictures(self, numbers: Iterator[int]) -> None:
        await self._calls("pictures", numbers, lambda: (SERVICE + "Recognize", self._inputs.picture(), ()))

    async def _calls(
        self,
        kind: str,
        numbers: Iterator[int],
        draw: Callable[[], tuple[str, bytes, tuple[tuple[str, str | bytes], ...]]],
    ) -> None:
        left = True
        while left:
            left = False
            async with grpc.aio.insecure_channel(target(self._address), channel_options("ferry-hostile")) as channel:
                for made, _ in enumerate(numbers):
                    method, data, metadata = draw()
                    began = time.monotonic()
                    self.codes[kind][await _ended(channel, method, data, metadata)] += 1
                    self.hung += time.monotonic() - began > TIMEOUT + GRACE
                    if made == CALLS_OF_A_CHANNEL:
                        left = True
                        break

    async def _frames(self, numbers: Iterator[int]) -> None:
        for _ in numbers:
            self.codes["frames"][await self._connection(self._inputs.frames(), LISTEN_SECONDS)] += 1

    async def _slow(self, numbers: Iterator[int]) -> None:
        for _ in numbers:
            seconds = self._inputs.chance.uniform(0, SLOW_SECONDS)
            self.codes["slow senders"][await self._connection(self._inputs.unfinished(), seconds)] += 1

    async def _connection(self, data: bytes, seconds: float) -> str:
        host, _, port = self._inputs.chance.choice(self._address.split(",")).rpartition(":")
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(host, int(port))
        except OSError as error:
            return "not connected" if not isinstance(error, TimeoutError) else "connecting timed out"
        try:
            writer.write(data)
            async with asyncio.timeout(seconds):
                while await reader.read(1 << 16):
                    pass
            return "closed by the gateway"
        except TimeoutError:
            return "left"
        except OSError:
            return "reset"
        finally:
            writer.transport.abort()


async def _ended(
    channel: grpc.aio.Channel, method: str, data: bytes, metadata: tuple[tuple[str, str | bytes], ...]
) -> str:
    try:
        ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
        call = ask(data, timeout=TIMEOUT, metadata=metadata)
        async for _ in call:
            pass
        return str((await call.code()).name)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    except ValueError:
        return "refused by the caller's own gRPC"


async def _main(address: str, count: int, seed: int) -> None:
    hostile = Hostile(address, seed)
    await hostile.run(count)
    print(json.dumps({"codes": hostile.codes, "hung": hostile.hung}))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
