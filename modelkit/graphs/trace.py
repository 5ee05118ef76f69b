"""Networks of PyTorch as ONNX, by tracing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def trace_to_onnx(
    network: Any, example: torch.Tensor, path: Path, *, axes: Mapping[str, Mapping[int, str]], opset: int
) -> None:
    """Writes the graph of one batch, in which some dimensions may vary.

    Args:
        network: a module with one input.
        example: a batch for it, of two or more.
        path: the file to write.
        axes: names of the input and, behind it, of the outputs; with the names of the dimensions of each that vary.
        opset: of ONNX.
    """
    names = list(axes)
    with warnings.catch_warnings():
        # The exporter by tracing is deprecated; its graphs are the smaller and plainer ones.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes=axes,
            opset_version=opset,
            do_constant_folding=True,
            dynamo=False,
        )
