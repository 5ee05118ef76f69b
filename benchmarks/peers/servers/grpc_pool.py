"""grpc.aio with a pool of threads and nothing else: no batching, no limits. `python -m ... PORT WORKERS`."""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from benchmarks.peers.kernels import Kernels, Plan


async def main(port: int, workers: int) -> None:
    """Serves until it is ended; `workers` threads, each with one run."""
    kernels = Kernels(Plan.from_environment())
    pool = ThreadPoolExecutor(workers)

    async def recognize(request: bytes, context: Any) -> bytes:
        answers = await asyncio.get_running_loop().run_in_executor(pool, kernels.answer, [request])
        return json.dumps(answers[0]).encode()

    handlers: Any = {"Recognize": grpc.unary_unary_rpc_method_handler(recognize)}
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peers.Recognizer", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
