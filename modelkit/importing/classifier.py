"""A timm classifier's checkpoint: how many classes, how many channels, and the network filled with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from modelkit.importing.dialect import as_timm
from modelkit.importing.errors import CheckpointError
from modelkit.importing.fit import fit, guess, spellings
from modelkit.importing.labels import MAX_CLASSES
from modelkit.importing.networks import Classifier


@dataclass(frozen=True)
class Imported:
    """A network filled with a checkpoint, and what its architecture says of its input.

    Attributes:
        network: answers `(logits, embedding or None)`.
        architecture: for the manifest.
        classes: number of labels.
        channels: of its input, 1 or 3.
        size: side of its input in pixels.
        mean: per channel, of pixels scaled to [0, 1].
        std: per channel.
    """

    network: nn.Module
    architecture: str
    classes: int
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def import_classifier(tensors: Mapping[str, Tensor], architecture: str | None) -> Imported:
    """Fits a checkpoint to a timm architecture.

    Args:
        tensors: of the checkpoint, under any wrapper's names; the head may be called as it likes. An EfficientNet may
            have the names of torchvision or efficientnet_pytorch.
        architecture: a name that timm knows; None: guessed.

    Raises:
        CheckpointError: no such architecture, or the checkpoint is of another.
    """
    renamed, known = as_timm(tensors)
    if known is not None:
        if architecture not in {None, known}:
            raise CheckpointError(f"these are the tensors of timm's {known} under other names: pass --arch {known}")
        tensors, architecture = renamed, known
    if architecture is None:
        architecture, share = guess(tensors)
        if share < 0.9:
            raise CheckpointError("the architecture cannot be told from the tensors: pass --arch and a name of timm's")
    model = create(architecture, 0, channels_of(tensors, architecture))
    width = int(model.num_features)
    if hasattr(model, "head_hidden_size"):
        width = int(model.head_hidden_size)
    classes = _classes(tensors, model, width)
    channels = channels_of(tensors, architecture)
    model = create(architecture, classes, channels)
    head = str(model.default_cfg["classifier"])
    fit(model, tensors, (f"{head}.weight", f"{head}.bias"))
    return Imported(Classifier(model), f"timm:{architecture}", classes, channels, *preparation(model, channels))


def create(architecture: str, classes: int, channels: int) -> Any:
    """A timm model with fresh weights.

    Raises:
        CheckpointError: timm knows no such model.
    """
    from modelkit.shims.torchvision import install

    install()
    import timm

    if not timm.is_model(architecture):
        close = ", ".join(timm.list_models(f"*{architecture[:8]}*")[:5]) or "see timm.list_models()"
        raise CheckpointError(f"timm has no model {architecture!r}; {close}")
    return timm.create_model(architecture, num_classes=classes, in_chans=channels)


def channels_of(tensors: Mapping[str, Tensor], architecture: str) -> int:
    """Input channels of the checkpoint's first convolution; 3 where it is not found, and fitting will tell why."""
    stem = str(create(architecture, 0, 3).default_cfg["first_conv"]) + ".weight"
    for name, tensor in tensors.items():
        if stem in spellings(name) and tensor.ndim == 4 and tensor.shape[1] in {1, 3}:
            return int(tensor.shape[1])
    return 3


def preparation(model: Any, channels: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Side, mean and std that timm has for a model, averaged over the channels for grey input."""
    config = model.default_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if channels == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return int(config["input_size"][-1]), mean, std


def _classes(tensors: Mapping[str, Tensor], model: Any, width: int) -> int:
    """Rows of the only matrix over the backbone's features that is none of the backbone's own."""
    own = set(model.state_dict())
    heads = {
        len(tensor)
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and tensor.shape[1] == width and not own & set(spellings(name))
    }
    if len(heads) != 1 or not 1 < max(heads) <= MAX_CLASSES:
        found = ", ".join(str(n) for n in sorted(heads)) or "none"
        raise CheckpointError(
            f"no last layer over the {width} features of this architecture: matrices of that width have {found} rows. "
            "Is --arch right?"
        )
    return heads.pop()
