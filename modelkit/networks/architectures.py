"""Networks by name: `iresnet` and `face-mobilenet` (both ArcFace) and `timm:<any timm model>`.

Every network answers `training_logits(images, targets, margin)` while it learns and, called, gives
`(logits, embedding)`; the embedding is None where the architecture has none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelkit.networks.arcface import ArcFace, Backbone
from modelkit.networks.depthwise import quicken
from modelkit.networks.enlarge import enlarge
from modelkit.networks.mobilenet import FaceMobileNet
from serving.cpu import has_bf16


class TimmClassifier(nn.Module):
    """Any timm image classifier with one grey input channel."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """float32 [N, 1, H, W] to logits float32 [N, classes]."""
        return self.model(images).float(), None

    def training_logits(self, images: Tensor, targets: Tensor, margin: float) -> Tensor:
        """The plain logits: a linear classifier knows no margin."""
        return self(images)[0]


class Symmetric(nn.Module):
    """Sees every face also in the mirror: mean logits, and the normalised sum of both embeddings.

    Deng et al. judge ArcFace's embeddings the same way. Not for training.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """As the network itself: float32 [N, 1, H, W] to logits and embedding."""
        logits, embedding = self.network(torch.cat([images, images.flip(3)]))
        straight, mirrored = logits.chunk(2)
        if embedding is not None:
            one, other = embedding.chunk(2)
            embedding = functional.normalize(one + other)
        return (straight + mirrored) / 2, embedding


def _iresnet(
    classes: int, size: int, *, widths: list[int], depths: list[int], dropout: float = 0.4, scale: float = 16.0
) -> nn.Module:
    return ArcFace(Backbone(tuple(widths), tuple(depths), size, dropout), classes, scale)


def _face_mobilenet(classes: int, size: int, *, dropout: float = 0.2, scale: float = 16.0) -> nn.Module:
    return ArcFace(FaceMobileNet(dropout), classes, scale)


def _timm(name: str, classes: int, **options: Any) -> nn.Module:
    from modelkit.shims.torchvision import install

    install()
    import timm

    model = timm.create_model(name, in_chans=1, num_classes=classes, **options)
    classifier = cast("nn.Module", model.get_classifier())
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    return TimmClassifier(quicken(model))


BUILDERS: dict[str, Callable[..., nn.Module]] = {"iresnet": _iresnet, "face-mobilenet": _face_mobilenet}


def build(architecture: str, classes: int, size: int, options: dict[str, Any]) -> nn.Module:
    """Builds a network with fresh weights.

    Args:
        architecture: a key of `BUILDERS`, or `timm:` and a name that timm knows.
        classes: number of labels.
        size: side of the input in pixels.
        options: keyword arguments of the builder.

    Raises:
        KeyError: no such architecture; the message lists the known ones.
    """
    if architecture.startswith("timm:"):
        return _timm(architecture.removeprefix("timm:"), classes, **options)
    if architecture not in BUILDERS:
        known = ", ".join([*BUILDERS, "timm:<name>"])
        raise KeyError(f"unknown architecture {architecture!r}; known: {known}")
    return BUILDERS[architecture](classes, size, **options)


def load_initial(network: nn.Module, file: Path) -> None:
    """Fills a network from a safetensors file with timm's names, or from an EfficientNet-Lite's `.pth` file.

    A three-channel stem is summed over its inputs, which is exact where grey was fed three times.

    Raises:
        ValueError: names or shapes do not fit the network.
    """
    from safetensors.torch import load_file

    target = network.model if isinstance(network, TimmClassifier) else network
    if file.suffix == ".pth":
        enlarge(target, torch.load(file, map_location="cpu", weights_only=True))
        return
    wanted = target.state_dict()
    loaded = {key: value.to(wanted[key].dtype) if key in wanted else value for key, value in load_file(file).items()}
    for key, value in loaded.items():
        if key in wanted and value.ndim == 4 and value.shape[1] == 3 and wanted[key].shape[1] == 1:
            loaded[key] = value.float().sum(dim=1, keepdim=True)
    try:
        target.load_state_dict(loaded)
    except RuntimeError as error:
        raise ValueError(f"{file} does not fit this network: {error}") from error


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker than float32 there; a processor without such instructions is slower with it."""
    if device.type == "cpu":  # oneDNN says yes to AVX-512 alone, which converts to float32 and back
        return has_bf16() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cuda.is_bf16_supported()
