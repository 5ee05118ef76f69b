"""One process of callers. Reads a line of JSON from standard input, prints one when it is done.

`python -m benchmarks.load.worker`: see `benchmarks.load.run`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
from hdrh.histogram import HdrHistogram

from benchmarks.load.mix import Mix, Requests
from benchmarks.load.schedule import Arrivals, due_times
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2_grpc

LONGEST_US = 600_000_000
DIGITS = 3
MAX_OPEN = 4096
"""Calls of one process that wait at once; what is due beyond is counted as UNSENT."""


def histogram() -> HdrHistogram:
    """Of microseconds, three digits."""
    return HdrHistogram(1, LONGEST_US, DIGITS)


async def drive(order: dict[str, Any]) -> dict[str, Any]:
    """Sends what is due; a latency counts from when its request was due, not from when it was sent."""
    requests = Requests(Mix.from_json(order["mix"]), order["seed"])
    latencies, codes = histogram(), Counter[str]()
    events: list[tuple[float, float, str]] = []
    late, in_time = 0.0, 0
    options = channel_options("ferry-bench-load")
    async with grpc.aio.insecure_channel(target(order["address"]), options=options) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        await channel.channel_ready()
        open_calls: set[asyncio.Task[None]] = set()

        async def one(due: float) -> None:
            nonlocal in_time
            code = "OK"
            try:
                answer = await stub.Recognize(next(requests), timeout=order["timeout"])
                code = "DEGRADED" if answer.degraded else "OK"
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            took = time.time() - start - due
            codes[code] += 1
            events.append((due, took, code))
            if code in {"OK", "DEGRADED"}:
                in_time += due + took <= order["seconds"]
                latencies.record_value(min(max(int(took * 1e6), 1), LONGEST_US))

        start = order["start"]
        for due in due_times(Arrivals(order["arrivals"]), order["rate"], order["seconds"], order["seed"]):
            wait = start + due - time.time()
            if wait > 0:
                await asyncio.sleep(wait)
            late = max(late, -wait)
            if len(open_calls) >= MAX_OPEN:
                codes["UNSENT"] += 1
                continue
            task = asyncio.create_task(one(due))
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
