"""LitServe: a LitAPI with batching, one process a worker. `python -m ... PORT WORKERS`."""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve as ls

from benchmarks.peers.kernels import Kernels, Plan


class Recognizer(ls.LitAPI):  # type: ignore[misc]
    """The image as base64 in JSON, as its documentation has it for images."""

    def setup(self, device: str) -> None:
        self._kernels = Kernels(Plan.from_environment())

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: list[bytes]) -> list[Any]:
        return self._kernels.answer(x)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Any:
        return {"answer": output}


if __name__ == "__main__":
    api = Recognizer(max_batch_size=8, batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[2]), timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
