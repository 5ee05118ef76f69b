"""Tensors and class names out of a checkpoint of unknown shape. Nothing in the file is ever run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelkit.importing.archive import check_archive, check_size
from modelkit.importing.errors import CheckpointError
from modelkit.importing.inert import Shell, read_inert, state_dict

CONTAINERS = ("model_state_dict", "state_dict", "model_ema", "ema", "model", "net", "network")
"""Where training loops put the weights, most telling first."""

CLASS_NAMES = ("class_names", "classes", "labels", "names", "idx_to_class", "class_to_idx")
LEFT_OUT = ("optim", "scheduler", "scaler")
"""What names of entries have in them that hold numbers of a training loop, not of its network."""

MAX_DEPTH = 6


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: name to float32 or integer tensor, on the CPU; nested names are joined by dots.
        class_names: in the order of the model's outputs, or None where the file does not say.
        shells: classes of the file that were kept as empty shells, for the person who imports it.
    """

    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] | None
    shells: tuple[str, ...] = ()


def read_checkpoint(file: Path) -> Checkpoint:
    """Reads a safetensors file, or a PyTorch file with `weights_only`, and as dead matter where that is refused.

    Args:
        file: the weights, bare or inside the dictionary of a training loop, or a network that was saved whole.

    Raises:
        CheckpointError: it is empty, too large, damaged, wants to run code, or holds no weights or weights that are
            not finite; or it is an ONNX file.
    """
    check_size(file)
    if file.suffix == ".onnx":
        raise CheckpointError(
            f"{file} is a model already, and no checkpoint: publish it with a manifest "
            "(docs/models.md, Bringing your own model)"
        )
    content, shells = (_safetensors(file), ()) if file.suffix == ".safetensors" else _torch(file)
    holder = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping | Shell)), content)
    tensors = state_dict(holder) if isinstance(holder, Shell) else dict(_tensors(holder))
    if not tensors:
        keys = ", ".join(str(key) for key in list(content)[:8])
        raise CheckpointError(f"{file} holds no weights; its entries are: {keys or 'none'}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{file}: {name} has numbers that are not finite; the training diverged")
    return Checkpoint(tensors, _class_names(content), shells)


def _safetensors(file: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is no safetensors file: {error}") from error


def _torch(file: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Content and shells."""
    check_archive(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if zipfile.is_zipfile(file):
            return read_inert(file)
        raise CheckpointError(
            f"{file} cannot be read as plain weights ({_reason(error)}). Only tensors are taken: save "
            "`model.state_dict()`, best as safetensors"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{file} holds a {type(content).__name__}, not weights by name: save `model.state_dict()`"
        )
    return content, ()


def _reason(error: Exception) -> str:
    """What the file asks for, or else the first line of PyTorch's own words, but no advice to trust the file."""
    text = str(error).strip()
    if wanted := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {wanted[1]}; nothing of it was run"
    if not re.search("[A-Za-z]", text) or text.startswith("Weights only"):
        return "it is damaged, or no checkpoint"
    return text.split("\n")[0][:200]


def _tensors(content: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.float() if value.is_floating_point() else value
        elif isinstance(value, Mapping) and depth < MAX_DEPTH and not _of_the_loop(str(key)):
            yield from _tensors(value, f"{prefix}{key}.", depth + 1)


def _of_the_loop(key: str) -> bool:
    return any(word in key.lower() for word in LEFT_OUT)


def _class_names(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    for key in CLASS_NAMES:
        value = content.get(key)
        if isinstance(value, Mapping) and value:
            if all(isinstance(k, int) and isinstance(v, str) for k, v in value.items()):
                return tuple(value[k] for k in sorted(value))
            if all(isinstance(k, str) and isinstance(v, int) for k, v in value.items()):
                return tuple(sorted(value, key=lambda name: value[name]))
        if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
            return tuple(value)
    return None
