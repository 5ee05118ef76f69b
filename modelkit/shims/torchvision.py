"""Lets `import torchvision` succeed beside a torch without CUDA.

PyPI's torchvision wheel is built against CUDA torch; beside a CPU build its extension cannot be loaded and the
import fails for want of two operators. timm and ultralytics import torchvision but Ferry calls none of its
operators, so declaring them is enough.
"""

from __future__ import annotations

import importlib.util

import torch


def install() -> None:
    """Declares the missing operators; does nothing where torchvision works, or is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
