# ruff: noqa: E402  (an import must be prevented before the others)
"""OpenVINO on the CPU, in float32 or, where the processor has it, bfloat16."""

from __future__ import annotations

import queue
import sys
from pathlib import Path

import numpy as np

# OpenVINO reports each import to its makers over the network, and forks to do it. Nothing leaves from here: without its
# reporting package it falls back to a stub of its own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov
from openvino import properties
from openvino.properties import hint

from serving.models.backends import deferred
from serving.models.backends.base import Backend, ModelLoadError, Outputs, Rows

_CORE = ov.Core()
"""The only one of the process: each gives a thread that compiles with it a stack for signals. Where the first of two
ended before the second, that thread was left with the first one's, and the next signal killed the process."""


class OpenVinoBackend(Backend):
    """One compiled model with an inference request for each run at a time."""

    name = "openvino"
    overlaps = True

    def __init__(self, path: Path, *, threads: int, precision: str = "fp32", concurrency: int = 1) -> None:
        """
        Args:
            path: the .onnx file.
            threads: threads of one run, 1 or more.
            precision: `fp32`, `bf16`, or `fp16` and `int8` of a file that is stored so.
            concurrency: runs at the same time, 1 or more.

        Raises:
            ModelLoadError: it is no model that OpenVINO can compile.
        """
        self.precision = precision
        element = ov.Type.bf16 if precision == "bf16" else ov.Type.f32
        config = {
            hint.inference_precision: element,
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.enable_cpu_pinning: False,
            properties.inference_num_threads: threads * concurrency,
            properties.num_streams: concurrency,
        }
        try:
            graph = _CORE.read_model(str(path))
            # Compiling may merge tensors and rename outputs; their order stays.
            self._outputs = [output.get_any_name() for output in graph.outputs]
            self._model = _CORE.compile_model(graph, "CPU", config)
        except Exception as error:
            raise ModelLoadError(path, str(error)) from error
        if len(self._model.inputs) != 1:
            raise ModelLoadError(path, f"has {len(self._model.inputs)} inputs where Ferry feeds one")
        self._concurrency = concurrency
        self._requests: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(concurrency):
            self._requests.put(self._model.create_infer_request())

    def run(self, rows: Rows) -> Outputs:
        request = self._requests.get()
        try:
            return self._run(request, rows)
        finally:
            self._requests.put(request)

    def warm(self, rows: Rows) -> Outputs:
        requests = [self._requests.get() for _ in range(self._concurrency)]
        try:
            return [self._run(request, rows) for request in requests][-1]
        finally:
            for request in requests:
                self._requests.put(request)

    def _run(self, request: ov.InferRequest, rows: Rows) -> Outputs:
        # Neither is copied by OpenVINO's own dispatch: rows are read where they lie, outputs below. OpenVINO holds no
        # array that it shares, so what `require` copies has a name until the run is over.
        held = np.require(rows, requirements=("C", "W"))
        request.set_input_tensor(ov.Tensor(held, shared_memory=True))
        if deferred.waits():
            request.start_async()
            deferred.catch_up()
            request.wait()
        else:
            request.infer(share_outputs=True)
        return {name: np.array(request.get_output_tensor(i).data, np.float32) for i, name in enumerate(self._outputs)}
