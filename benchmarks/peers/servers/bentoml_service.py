"""BentoML: a service with adaptive batching. `python -m ... PORT WORKERS` serves it."""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

import bentoml

from benchmarks.peers.kernels import Kernels, Plan

WORKERS = int(os.environ.get("FERRY_PEERS_WORKERS", "1"))


@bentoml.service(workers=WORKERS, traffic={"timeout": 60}, metrics={"enabled": False})
class Recognizer:
    """The images as base64 in JSON; a caller sends a list, and the service gathers lists."""

    def __init__(self) -> None:
        self._kernels = Kernels(Plan.from_environment())

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    def recognize(self, images: list[str]) -> list[Any]:
        """One answer an image."""
        return self._kernels.answer([base64.b64decode(image) for image in images])


if __name__ == "__main__":
    port, workers = sys.argv[1:3]
    os.environ |= {"FERRY_PEERS_WORKERS": workers, "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.servers.bentoml_service:Recognizer"]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", port])
