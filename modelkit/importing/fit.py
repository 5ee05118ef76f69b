"""A checkpoint's tensors into a network, under whatever names they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from modelkit.importing.errors import CheckpointError

PREFIXES = (
    *("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "base_model.", "features."),
    "state_dict_backbone.",
)
"""What wrappers put before the names of the network they hold."""

SHOWN = 8
GUESSES = (
    *(f"efficientnet_b{i}" for i in range(5)),
    "tf_efficientnetv2_s",
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenetv3_large_100",
    "convnext_tiny",
)
COUNTED = ".num_batches_tracked"


def fit(network: nn.Module, tensors: Mapping[str, Tensor], head: Sequence[str] = ()) -> None:
    """Fills `network` in place.

    Args:
        network: of the right architecture and number of classes.
        tensors: of the checkpoint.
        head: names of the network's last layers (weight, bias); where the checkpoint calls them otherwise, its only
            tensors of that shape that fit nowhere else are taken.

    Raises:
        CheckpointError: tensors are missing or left over; names them and guesses the architecture.
    """
    wanted = network.state_dict()
    found: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        target = next((each for each in spellings(name) if each in wanted and each not in found), None)
        if target is not None and wanted[target].shape == tensor.shape:
            found[target] = tensor
        else:
            left[name] = tensor
    for target in head:
        if target in wanted and target not in found:
            fitting = [name for name, tensor in left.items() if tensor.shape == wanted[target].shape]
            if len(fitting) == 1:
                found[target] = left.pop(fitting[0])
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTED)]
    unexpected = [name for name in left if not name.endswith(COUNTED)]
    if missing or unexpected:
        raise CheckpointError(_misfit(missing, unexpected, tensors))
    network.load_state_dict(found, strict=False)


def spellings(name: str) -> list[str]:
    """A name, and what is left of it without one wrapper's prefix after the other."""
    result = [name]
    while prefix := next((each for each in PREFIXES if result[-1].startswith(each)), None):
        result.append(result[-1].removeprefix(prefix))
    return result


def guess(tensors: Mapping[str, Tensor], names: Sequence[str] = GUESSES) -> tuple[str, float]:
    """The timm architecture that shares most names and shapes with a checkpoint, and the share of its tensors found."""
    have = {(each, tuple(tensor.shape)) for name, tensor in tensors.items() for each in spellings(name)}
    best = "", 0.0
    for name in names:
        state = outline(name)
        share = sum((key, tuple(value.shape)) in have for key, value in state.items()) / len(state)
        best = max(best, (name, share), key=lambda pair: pair[1])
    return best


def outline(architecture: str, channels: int = 3) -> dict[str, Tensor]:
    """Names and shapes of a timm network without its last layer, in its order; the tensors hold no numbers."""
    from modelkit.shims.torchvision import install

    install()
    import timm

    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=0, in_chans=channels)
    state: dict[str, Tensor] = network.state_dict()
    return state


def _misfit(missing: Sequence[str], unexpected: Sequence[str], tensors: Mapping[str, Tensor]) -> str:
    name, share = guess(tensors)
    hint = f"it looks like {name}: pass --arch {name}" if share > 0.9 else "no architecture tried here looks like it"
    return (
        f"the checkpoint does not fit. Missing: {_some(missing)}. Unexpected or of another shape: {_some(unexpected)}. "
        f"By its tensors, {hint}"
    )


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
