"""PyTriton: NVIDIA's Triton in front of Python callables, with its dynamic batcher. `python -m ... PORT WORKERS`."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.kernels import Kernels, Plan


def make() -> Any:
    """One instance of the model."""
    kernels = Kernels(Plan.from_environment())

    @batch  # type: ignore[untyped-decorator]
    def infer(image: Any) -> dict[str, Any]:
        answers = kernels.answer([row.tobytes() for row in image])
        return {"answer": np.array([[json.dumps(answer).encode()] for answer in answers], dtype=np.bytes_)}

    return infer


if __name__ == "__main__":
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    config = TritonConfig(http_address="127.0.0.1", http_port=port, allow_grpc=True, grpc_port=port + 1,
                          allow_metrics=False, log_verbose=0)  # fmt: skip
    with Triton(config=config) as triton:
        triton.bind(
            model_name="recognizer",
            infer_func=[make() for _ in range(workers)],
            inputs=[Tensor(name="image", dtype=np.uint8, shape=(-1,))],
            outputs=[Tensor(name="answer", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=8, batcher=DynamicBatcher(max_queue_delay_microseconds=5000)),
        )
        triton.serve()
