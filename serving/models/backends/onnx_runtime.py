"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from serving.models.backends.base import Backend, ModelLoadError, Outputs, Rows


class OnnxRuntimeBackend(Backend):
    """One inference session."""

    name = "onnxruntime"

    def __init__(self, path: Path, *, threads: int, precision: str = "fp32") -> None:
        """
        Args:
            path: the .onnx file.
            threads: intra-op threads, 1 or more. ONNX Runtime itself would count the host's cores.
            precision: what the file is stored to be run in: `fp32`, `fp16` or `int8`.

        Raises:
            ModelLoadError: it is no model that ONNX Runtime can load.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads must not burn the CPU that the services beside this one need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Batches of every size are run: a block kept for each size's memory pattern doubles a detector's memory.
        options.enable_mem_pattern = False
        self.precision = precision
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelLoadError(path, str(error)) from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelLoadError(path, f"has {len(inputs)} inputs where Ferry feeds one")
        self._input = inputs[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, rows: Rows) -> Outputs:
        values = self._session.run(self._outputs, {self._input: rows})
        return {name: np.asarray(value, np.float32) for name, value in zip(self._outputs, values, strict=True)}
