"""One process of callers. Reads a line of JSON from standard input, prints one when it is done.

`python -m benchmarks.load.worker`: see `benchmarks.load.run`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from hdrh.histogram import HdrHistogram

from benchmarks.load.mix import Mix, Requests
from benchmarks.load.schedule import Arrivals, due_times
from benchmarks.unary import Pool, UnaryError, addresses
from ferry.client import AsyncClient, FerryError
from ferry.v1 import gateway_pb2

LONGEST_US = 600_000_000
DIGITS = 3
Ask: TypeAlias = Callable[[gateway_pb2.RecognizeRequest], Awaitable[str]]
"""Sends one request; gRPC's code, or DEGRADED."""
RECOGNIZE = "/ferry.v1.ExpressionRecognition/Recognize"
MAX_OPEN = 512
"""Calls of one process that wait at once, each over a connection; what is due beyond is not sent."""
UNSENT = "UNSENT"
"""The code of that."""


def histogram() -> HdrHistogram:
    """Of microseconds, three digits."""
    return HdrHistogram(1, LONGEST_US, DIGITS)


@asynccontextmanager
async def _by_pool(address: str, timeout: float) -> AsyncIterator[Ask]:
    pool = Pool(addresses(address))

    async def ask(request: gateway_pb2.RecognizeRequest) -> str:
        try:
            answer = await pool.call(RECOGNIZE, request.SerializeToString(), timeout)
        except UnaryError as error:
            return error.code
        return "DEGRADED" if gateway_pb2.RecognizeResponse.FromString(answer).degraded else "OK"

    try:
        yield ask
    finally:
        pool.close()


@asynccontextmanager
async def _by_client(address: str, timeout: float) -> AsyncIterator[Ask]:
    async with AsyncClient(address, timeout=timeout) as client:
        await client.status()

        async def ask(request: gateway_pb2.RecognizeRequest) -> str:
            try:
                answer = await client.recognize(
                    request.image, test_time_augmentation=request.options.test_time_augmentation
                )
            except FerryError as error:
                return error.code
            return "DEGRADED" if answer.degraded else "OK"

        yield ask


class _End:
    """When to send nothing more, seconds from the start; a line of standard input may make it earlier."""

    def __init__(self, at: float) -> None:
        self.at = at

    def read(self) -> None:
        """To be called when there is something to read."""
        line = sys.stdin.readline()
        if line.strip():
            self.at = min(self.at, float(line))
        else:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


async def drive(order: dict[str, Any]) -> dict[str, Any]:
    """Sends what is due; a latency counts from when its request was due, not from when it was sent."""
    requests = Requests(Mix.from_json(order["mix"]), order["seed"])
    latencies, codes = histogram(), Counter[str]()
    events: list[tuple[float, float, str]] = []
    late, in_time = 0.0, 0
    async with (_by_client if order.get("client") else _by_pool)(order["address"], order["timeout"]) as ask:
        open_calls: set[asyncio.Task[None]] = set()

        async def one(due: float, request: gateway_pb2.RecognizeRequest) -> None:
            nonlocal in_time
            code = await ask(request)
            took = time.time() - start - due
            codes[code] += 1
            events.append((due, took, code))
            if code in {"OK", "DEGRADED"}:
                in_time += due + took <= order["seconds"]
                latencies.record_value(min(max(int(took * 1e6), 1), LONGEST_US))

        start, end = order["start"], _End(order["seconds"])
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), end.read)
        arrivals, period, periods = Arrivals(order["arrivals"]), order["period"], 1
        for due in due_times(arrivals, order["rate"], order["seconds"], order["seed"], period):
            wait = start + due - time.time()
            if wait > 0:
                await asyncio.sleep(wait)
            if due > end.at:
                break
            late = max(late, -wait)
            if due >= periods * period:
                periods += 1
                requests.begin_anew()
            request = next(requests)
            if len(open_calls) >= MAX_OPEN:
                codes[UNSENT] += 1
                continue
            task = asyncio.create_task(one(due, request))
            open_calls.add(task)
            task.add_done_callback(open_calls.discard)
        await asyncio.gather(*open_calls)
    return {
        "histogram": latencies.encode().decode(),
        "codes": dict(codes),
        "in_time": in_time,
        "late": late,
        "events": events if order["events"] else [],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.loads(sys.stdin.readline())))))
