"""mosec: a worker class, dynamic batching, one process a worker. `python -m ... PORT WORKERS`."""

from __future__ import annotations

import json
import sys
from typing import Any

from mosec import Server, Worker

from benchmarks.peers.kernels import Kernels, Plan


class Recognizer(Worker):  # type: ignore[misc]
    """Raw bytes in, JSON out."""

    def __init__(self) -> None:
        super().__init__()
        self._kernels = Kernels(Plan.from_environment())

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: Any) -> bytes:
        return json.dumps(data).encode()

    def forward(self, data: list[bytes]) -> list[Any]:
        return self._kernels.answer(data)


if __name__ == "__main__":
    port, workers = sys.argv[1:3]
    # mosec reads its options from the command line.
    sys.argv[1:] = ["--port", port, "--address", "127.0.0.1", "--timeout", "60000", "--log-level", "warning"]
    server = Server()
    server.append_worker(Recognizer, num=int(workers), max_batch_size=8, max_wait_time=5)
    server.run()
