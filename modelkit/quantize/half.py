"""From float32 to float16 arithmetic, which GPUs compute at twice the speed or more; CPUs turn it back into float32."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


class HalfConverter:
    """Writes a prepared model in float16: weights and arithmetic; inputs and outputs stay float32."""

    def __init__(self, prepared: Path) -> None:
        """
        Args:
            prepared: as `modelkit.quantize.graph.prepare_graph` wrote it.
        """
        self._prepared = prepared

    def write(self, target: Path, *, only: Sequence[str] = (), keep_float: Collection[str] = ()) -> None:
        """Writes a converted model.

        Args:
            target: the file.
            only: names of the nodes to convert; all by default.
            keep_float: names of nodes that stay in float32.
        """
        model = onnx.load(self._prepared)
        chosen = set(only) or {node.name for node in model.graph.node}
        in_float = [node.name for node in model.graph.node if node.name not in chosen - set(keep_float)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of numbers that are cut: the gate judges what they do
            half = convert_float_to_float16(
                model, keep_io_types=True, disable_shape_infer=True, node_block_list=in_float
            )
        OnnxModel(half).topological_sort(is_deterministic=True)  # casts were appended
        onnx.save(half, target)
