"""Ultralytics' detection networks by name, with one class per expression."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from modelkit.shims.ultralytics import install
from serving.expressions import EXPRESSIONS


def build(architecture: str, pretrained: Path | None = None, classes: int = len(EXPRESSIONS)) -> Any:
    """A fresh `ultralytics` DetectionModel; with seven classes, they are the expressions.

    Args:
        architecture: a model file of Ultralytics, such as `yolo11n` or `yolov8n`.
        pretrained: an Ultralytics checkpoint whose tensors are taken over wherever name and shape agree
            (detection or segmentation). It is unpickled: only give files you trust.
        classes: number of classes.

    Raises:
        FileNotFoundError: `pretrained` does not exist, or Ultralytics knows no such architecture.
    """
    install()
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import LOGGER

    if pretrained is not None and not pretrained.is_file():
        raise FileNotFoundError(f"{pretrained} does not exist: pass the pretrained YOLO checkpoint, or none")
    LOGGER.setLevel(logging.WARNING)
    net = DetectionModel(f"{architecture}.yaml", ch=3, nc=classes, verbose=False)
    net.args = get_cfg()
    if classes == len(EXPRESSIONS):
        net.names = {i: expression.value for i, expression in enumerate(EXPRESSIONS)}
    if pretrained is not None:
        checkpoint = torch.load(pretrained, map_location="cpu", weights_only=False)
        source = (checkpoint.get("ema") or checkpoint["model"]).float().state_dict()
        own = net.state_dict()
        net.load_state_dict({k: v for k, v in source.items() if k in own and own[k].shape == v.shape}, strict=False)
    return net
