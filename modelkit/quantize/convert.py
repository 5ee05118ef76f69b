"""From float32 to eight bits with ONNX Runtime's quantizers: calibration, static and dynamic."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import (
    CalibrationMethod,
    TensorData,
    create_calibrator,
    load_tensors_data,
    save_tensors_data,
)

from modelkit.graphs.half_weights import store_as_half
from modelkit.quantize.graph import LAYER_OPS
from serving.models.backends.base import Rows

CHUNK = 4
"""Batches whose intermediate results are in memory at once while ranges are collected."""

PERCENTILE = 99.999
"""Share of the values that a range found by `percentile` holds, in percent (ONNX Runtime's own default)."""


class Calibration(StrEnum):
    """How the range of each tensor is found."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class Activations(StrEnum):
    """Type of what flows between layers: `UINT8` is fast on x86, TensorRT wants `INT8` (symmetric)."""

    UINT8 = "uint8"
    INT8 = "int8"


_METHODS = {
    Calibration.MINMAX: CalibrationMethod.MinMax,
    Calibration.ENTROPY: CalibrationMethod.Entropy,
    Calibration.PERCENTILE: CalibrationMethod.Percentile,
}


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, batches: Sequence[Rows]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Rows] | None:
        rows = next(self._batches, None)
        return None if rows is None else {self._name: rows}


class Writer(Protocol):
    """Writes one prepared model in a lower precision."""

    def write(self, target: Path, *, only: Sequence[str] = (), keep_float: Collection[str] = ()) -> None:
        """Writes it, of `only` these nodes or of all, but not of those to `keep_float`."""


class StaticQuantizer:
    """Static quantization of one prepared model: QDQ, weights int8 per channel, layers only.

    Only layers are quantized, not what lies between them: on CPUs the element-wise operators gain nothing from it.
    """

    def __init__(
        self, prepared: Path, method: Calibration, activations: Activations, *, seven_bits: bool = False
    ) -> None:
        """
        Args:
            prepared: as `modelkit.quantize.graph.prepare_graph` wrote it; ranges are kept beside it.
            method: how ranges are found.
            activations: type of the activations.
            seven_bits: weights from -64 to 64, for processors that add products of bytes in 16 bits.
        """
        self._seven_bits = seven_bits
        self._prepared = prepared
        self._method = _METHODS[method]
        self._symmetric = activations is Activations.INT8
        self._type = QuantType.QInt8 if self._symmetric else QuantType.QUInt8
        self._ranges = prepared.with_suffix(".ranges.json")

    def calibrate(self, name: str, batches: Iterator[Rows]) -> None:
        """Finds the range of every tensor at a layer.

        Args:
            name: of the model's input.
            batches: each as the model takes it, one after the other; never all at once in memory.
        """
        options: dict[str, object] = {"symmetric": self._symmetric}
        if self._method is CalibrationMethod.Percentile:
            options["percentile"] = PERCENTILE
        with tempfile.TemporaryDirectory() as scratch, _quiet():
            calibrator = create_calibrator(
                self._prepared,
                LAYER_OPS,
                augmented_model_path=str(Path(scratch) / "augmented.onnx"),
                calibrate_method=self._method,
                extra_options=options,
            )
            while chunk := [rows for _, rows in zip(range(CHUNK), batches, strict=False)]:
                calibrator.collect_data(_Reader(name, chunk))
            save_tensors_data(calibrator.compute_data(), self._ranges)

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Puts other ranges (lowest and highest value) in the place of those that were found."""
        kept = load_tensors_data(self._ranges)
        for name, ends in ranges.items():
            low, high = (np.asarray(end, np.float32) for end in ends)
            kept[name] = TensorData(lowest=low, highest=high)
        save_tensors_data(kept, self._ranges)

    def write(self, target: Path, *, only: Sequence[str] = (), keep_float: Collection[str] = ()) -> None:
        """Writes a quantized model.

        Args:
            target: the file.
            only: names of the layers to quantize; all by default.
            keep_float: names of nodes that are not.
        """
        with _quiet():
            quantize_static(
                str(self._prepared),
                str(target),
                calibration_cache_path=self._ranges,
                calibrate_method=self._method,
                op_types_to_quantize=list(LAYER_OPS),
                per_channel=True,
                reduce_range=self._seven_bits,
                activation_type=self._type,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=list(only),
                nodes_to_exclude=list(keep_float),
                extra_options={"ActivationSymmetric": self._symmetric},
            )


class DynamicQuantizer:
    """Matrix products find the range of their input at each run; convolutions stay as they are.

    ONNX Runtime's ConvInteger, which would cover convolutions, has no fast kernel.
    """

    def __init__(self, prepared: Path, *, seven_bits: bool = False) -> None:
        """
        Args:
            prepared: as `modelkit.quantize.graph.prepare_graph` wrote it.
            seven_bits: see `StaticQuantizer`.
        """
        self._prepared = prepared
        self._seven_bits = seven_bits

    def write(self, target: Path, *, only: Sequence[str] = (), keep_float: Collection[str] = ()) -> None:
        """Writes a quantized model; arguments as those of `StaticQuantizer.write`."""
        with _quiet():
            quantize_dynamic(
                str(self._prepared),
                str(target),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=self._seven_bits,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=list(only),
                nodes_to_exclude=list(keep_float),
            )


def shrink(path: Path) -> None:
    """Stores the weights of the layers that stayed float as float16, as the float model does; scales stay float32."""
    model = onnx.load(path)
    store_as_half(model, only={node.input[1] for node in model.graph.node if node.op_type in LAYER_OPS})
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizers talk on standard output, and warn through the root logger of things that have been seen to."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
