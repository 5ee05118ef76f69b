"""Ray Serve: a deployment with `serve.batch`, one actor a replica. `python -m ... PORT WORKERS`."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.kernels import PLAN, Kernels, Plan


class Recognizer:
    """Raw bytes in, JSON out."""

    def __init__(self) -> None:
        self._kernels = Kernels(Plan.from_environment())

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005)  # type: ignore[untyped-decorator]
    async def answer(self, bodies: list[bytes]) -> list[Any]:
        """What is gathered is answered at once."""
        return self._kernels.answer(bodies)

    async def __call__(self, request: Request) -> Any:
        return await self.answer(await request.body())


if __name__ == "__main__":
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    environment = {"env_vars": {PLAN: os.environ[PLAN], "PYTHONPATH": os.environ["PYTHONPATH"]}}
    ray.init(
        num_cpus=4, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False,
        runtime_env=environment,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment = serve.deployment(
        Recognizer, num_replicas=workers, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1}
    )
    serve.run(deployment.bind(), route_prefix="/")
    threading.Event().wait()
