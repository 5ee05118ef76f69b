"""ONNX Runtime on an NVIDIA GPU: bound buffers for each batch bucket, CUDA graphs where the model allows them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from serving.models.backends.base import Backend, ModelLoadError, Outputs, Rows
from serving.models.backends.buckets import parts
from serving.models.backends.gpu import PROVIDERS
from serving.models.backends.providers import GpuPlan, provider_list

log = logging.getLogger(__name__)

GRAPH_ID, NO_GRAPH = "gpu_graph_id", "-1"
"""Run option that says which recorded graph a run replays, and its value for none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Bucket:
    """Buffers of one batch size and shape, which never move: a recorded graph holds their addresses."""

    padded: Rows
    on_gpu: Any
    outputs: dict[str, Any]
    session: Any
    binding: Any
    options: Any


class GpuBackend(Backend):
    """One session and one thread of its own, since a recorded graph belongs to the thread that recorded it.

    Batches are padded with zeros to the next bucket; larger ones than the largest bucket are cut.
    """

    device = "cuda"

    def __init__(self, path: Path, *, backend: str, plan: GpuPlan, precision: str) -> None:
        """
        Args:
            path: the .onnx file.
            backend: `cuda` or `tensorrt`.
            plan: buckets and shapes.
            precision: of the arithmetic: with `cuda` that of the file, with `tensorrt` see `tensorrt_options`.

        Raises:
            ModelLoadError: it is no model, or its provider cannot be loaded.
        """
        self.name = backend
        self.precision = precision
        self._path, self._plan = path, plan
        self._buckets: dict[tuple[int, ...], _Bucket] = {}
        self._graphs = backend == "cuda" and plan.graphs
        try:
            self._session = self._open()
        except ModelLoadError as error:
            if not self._graphs:
                raise
            self._give_up_graphs(error.reason)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelLoadError(path, f"has {len(inputs)} inputs where Ferry feeds one")
        self._input = inputs[0].name
        rows = inputs[0].shape[0]
        self._rows = rows if plan.fixed and isinstance(rows, str) else None
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=backend)

    @property
    def graphs(self) -> bool:
        """Whether the kernels of each bucket are recorded and replayed; false once a model did not allow it."""
        return self._graphs

    def run(self, rows: Rows) -> Outputs:
        runs = [self._thread.submit(self._run, bucket, part) for bucket, part in parts(rows, self._plan.buckets)]
        answers = [each.result() for each in runs]
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in self._outputs}

    def _open(self, rows: int | None = None) -> ort.InferenceSession:
        """A session, of any number of rows or of this one."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if rows is not None:
            options.add_free_dimension_override_by_name(self._rows, rows)
        wanted = PROVIDERS[self.name]
        providers = provider_list(self.name, self._plan, self.precision, graphs=self._graphs)
        try:
            session = ort.InferenceSession(str(self._path), options, providers=providers, enable_fallback=0)
        except Exception as error:
            raise ModelLoadError(self._path, str(error)) from error
        if wanted not in session.get_providers():
            raise ModelLoadError(
                self._path, f"{wanted} could not be loaded; are its libraries (CUDA, cuDNN, TensorRT) installed?"
            )
        return session

    def _run(self, size: int, rows: Rows) -> Outputs:
        try:
            return self._run_bound(size, rows)
        except Exception as error:
            if not self._graphs:
                raise
            self._buckets.clear()
            self._give_up_graphs(error)
            return self._run_bound(size, rows)

    def _give_up_graphs(self, reason: object) -> None:
        """Opens the model without them, and says so."""
        self._graphs = False
        self._session = self._open()
        log.warning("%s runs without CUDA graphs: %s", self._path, reason)

    def _run_bound(self, size: int, rows: Rows) -> Outputs:
        shape = (size, *rows.shape[1:])
        bucket = self._buckets.get(shape)
        if bucket is None:
            bucket = self._buckets[shape] = self._bind(shape)
        count = len(rows)
        bucket.padded[:count] = rows
        bucket.padded[count:] = 0
        bucket.on_gpu.update_inplace(bucket.padded)
        bucket.session.run_with_iobinding(bucket.binding, bucket.options)
        return {name: np.array(value.numpy()[:count], np.float32) for name, value in bucket.outputs.items()}

    def _bind(self, shape: tuple[int, ...]) -> _Bucket:
        """Buffers on the GPU; a first run, not recorded, tells the shapes of the outputs."""
        session = self._session if self._rows is None else self._open(shape[0])
        padded = np.zeros(shape, np.uint8 if self._plan.bytes_in else np.float32)
        answers = session.run(self._outputs, {self._input: padded}, self._run_options(NO_GRAPH))
        on_gpu = ort.OrtValue.ortvalue_from_numpy(padded, "cuda", 0)
        binding = session.io_binding()
        binding.bind_ortvalue_input(self._input, on_gpu)
        outputs = {}
        for name, answer in zip(self._outputs, answers, strict=True):
            outputs[name] = ort.OrtValue.ortvalue_from_shape_and_type(answer.shape, answer.dtype, "cuda", 0)
            binding.bind_ortvalue_output(name, outputs[name])
        return _Bucket(padded, on_gpu, outputs, session, binding, self._run_options(self._graph_id(shape)))

    def _graph_id(self, shape: tuple[int, ...]) -> str:
        """A number for each batch size and shape."""
        shapes = (self._plan.shape, *self._plan.shapes)
        place = shapes.index(shape[1:]) if shape[1:] in shapes else 0
        return str(shape[0] + place * (self._plan.buckets[-1] + 1))

    def _run_options(self, graph: str) -> Any:
        options = ort.RunOptions()
        if self._graphs:
            options.add_run_config_entry(GRAPH_ID, graph)
        return options
