"""Trains the detector: a small resumable loop over Ultralytics' network and loss.

Interrupted at any moment it continues from its last checkpoint with the very batches it would have seen.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from modelkit.detector.dataset import (
    BATCHES,
    CLOSE,
    DARK,
    HIDDEN,
    KINDS,
    LABEL_TRUST,
    MOSAIC,
    PASTED,
    SWAPPED,
    TAUGHT,
    TURNED,
    Sampler,
)
from modelkit.detector.feed import feed
from modelkit.detector.loss import SoftLoss
from modelkit.detector.material import Material, load_material
from modelkit.detector.network import build
from modelkit.networks.architectures import computes_bfloat16, pick_device
from modelkit.networks.published import restore_detector
from modelkit.training.checkpoint import write_checkpoint
from serving.disk import write_whole

CHECKPOINT = "last.pt"
STARTS = "starts.json"
LOSSES = ("box", "cls", "dfl")
MEASURED = 32
"""Pictures to measure the statistics of a published model's layers on."""


@dataclass(frozen=True)
class Settings:
    """What decides a training run; written into the model's record.

    seconds: learn for that long instead of `steps`; the rate then falls with the time that has passed.
    batches: sides and sizes to draw from, instead of `dataset.BATCHES`.
    workers: processes that make the pictures; 0 makes them in this one.
    mosaic: share of the photos and negatives that are put together of four. Those that are whole look like what is
        served, so a last run without mosaics settles the network.
    """

    architecture: str = "yolo11n"
    steps: int = 4000
    learning_rate: float = 1e-3
    final_rate: float = 0.02
    warmup: int = 150
    weight_decay: float = 5e-4
    ema: float = 0.995
    cls_gain: float = 1.0
    gradient_clip: float = 10.0
    seed: int = 20
    checkpoint_every: int = 25
    freeze_after: int = 500
    frozen_layers: int = 3
    seconds: float | None = None
    batches: Sequence[tuple[int, int]] = ()
    workers: int = 0
    mosaic: float = MOSAIC


LARGE = Settings(
    learning_rate=1.5e-3,
    weight_decay=0.02,
    ema=0.998,
    checkpoint_every=100,
    freeze_after=sys.maxsize,
    batches=((448, 84), (512, 64), (576, 50)),
    workers=8,
)
"""For a GPU, to which other processes hand the pictures."""


def rate_at(step: int, settings: Settings, elapsed: float = 0.0) -> float:
    """The learning rate of a step: linear warm-up, then a half cosine down to `final_rate` of the peak."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.seconds is None:
        done = min((step - settings.warmup) / max(settings.steps - settings.warmup, 1), 1.0)
    else:
        done = min(elapsed / settings.seconds, 1.0)
    share = settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
    return settings.learning_rate * share


def to_inputs(images: Tensor, boxes: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """uint8 [B, S, S, 3] to float [B, 3, S, S] in [0, 1]; float [F, 4] corners in pixels to centre, size in [0, 1]."""
    side = images.shape[1]
    pixels = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
    corners = boxes.to(device, non_blocking=True) / side
    shares = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    return pixels.contiguous(memory_format=torch.channels_last), shares


def train_detector(
    data: Path,
    directory: Path,
    cache: Path,
    settings: Settings,
    *,
    pretrained: Path | None = None,
    pseudo: Path | None = None,
    taught: Path | None = None,
    yunet: Path | None = None,
    device: str = "auto",
    on_checkpoint: Callable[[Trainer], None] | None = None,
) -> None:
    """Trains, or continues, the run in `directory`.

    Every start is written down beside the checkpoint with its step, its settings and what it learnt from; a
    continued run may have another number of steps, or have got pseudo-labels that its beginning had not.

    Args:
        data: folder with `faces/` and `fer2013/`.
        directory: checkpoint and record of the run.
        cache: folder where the search for near-duplicates is kept.
        settings: of the run.
        pretrained: an Ultralytics checkpoint or the ONNX file of a published detector to start from, or None.
        pseudo: a table of photographed faces by `modelkit.detector.pseudo_labels`, or None.
        taught: a table of crops by the same, or None.
        yunet: see `modelkit.detector.material.load_material`.
        device: `auto`, `cpu` or `cuda`.
        on_checkpoint: is called after each one.

    Raises:
        DataError: a data file is missing or not as it should be.
        FileNotFoundError: `pretrained` does not exist.
        ValueError: `pretrained` is an ONNX file of another architecture.
    """
    material, sources = load_material(data, cache, pseudo=pseudo, taught=taught, yunet=yunet)
    trainer = Trainer(material, directory, settings, pretrained, str(pick_device(device)))
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / STARTS
    starts = json.loads(file.read_text()) if file.is_file() else []
    recipe = {
        "batches": settings.batches or BATCHES,
        "kinds": KINDS,
        "swapped": SWAPPED,
        "hidden": HIDDEN,
        "pasted": PASTED,
        "label_trust": LABEL_TRUST,
        "taught": TAUGHT,
        "close": CLOSE,
        "turned": TURNED,
        "dark": DARK,
    }
    starts.append({"step": trainer.step, "settings": asdict(settings), "sources": asdict(sources), "recipe": recipe})
    write_whole(file, json.dumps(starts, indent=2))
    trainer.run(on_checkpoint)


class Trainer:
    """One run in `directory`: network, moving average of its weights, optimiser, history."""

    def __init__(
        self, material: Material, directory: Path, settings: Settings, pretrained: Path | None, device: str = "cpu"
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.directory = directory
        self.device = torch.device(device)
        self.sampler = Sampler(material, settings.seed, settings.batches, settings.mosaic)
        published = pretrained is not None and pretrained.suffix == ".onnx"
        net = build(settings.architecture, None if published else pretrained)
        if pretrained is not None and published and not (directory / CHECKPOINT).is_file():
            images, *_, boxes = next(feed(self.sampler, 0, 1, 0, pinned=False))
            restore_detector(net, pretrained, to_inputs(images[:MEASURED], boxes, torch.device("cpu"))[0])
        self.net = net.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.net.train()
        self.net.args.cls = settings.cls_gain
        self.loss = SoftLoss(self.net)
        decayed = [p for p in self.net.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=(0.9, 0.999), fused=self.device.type == "cuda"
        )
        self._tensors = tuple(
            [state[key] for key, value in self.net.state_dict().items() if value.dtype.is_floating_point]
            for state in (self.average.state_dict(), self.net.state_dict())
        )
        self.step = 0
        self.elapsed = 0.0
        self.history: list[dict[str, float]] = []
        self.resume()

    def resume(self) -> None:
        """Continues from the directory's checkpoint, if there is one."""
        path = self.directory / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history, self.elapsed = state["step"], state["history"], state.get("elapsed", 0.0)

    def save(self) -> None:
        """Writes the checkpoint so that a kill at any moment leaves the old or the new one, never half of one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "elapsed": self.elapsed,
            "settings": asdict(self.settings),
        }
        write_checkpoint(self.directory / CHECKPOINT, state)

    def train_step(self, batch: Sequence[Tensor]) -> Tensor:
        """One optimiser step on a batch of `feed`; returns the three losses per image, on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings, self.elapsed)
        if self.step >= self.settings.freeze_after:
            self._freeze()
        images, index, expressions, boxes = batch
        pixels, shares = to_inputs(images, boxes, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=computes_bfloat16(self.device)):
            raw = self.net(pixels)
        predictions = {k: [f.float() for f in v] if isinstance(v, list) else v.float() for k, v in raw.items()}
        total = self.loss(predictions, index.to(self.device), shares, expressions.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        total.sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.gradient_clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        self._follow()
        return total.detach() / len(images)

    def _freeze(self) -> None:
        """Stops learning in the first layers: at the highest resolution they cost a third and settle soonest."""
        for layer in self.net.model[: self.settings.frozen_layers]:
            layer.requires_grad_(False).eval()

    def _follow(self) -> None:
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(*self._tensors, 1 - decay)

    def is_finished(self) -> bool:
        """Whether all steps have been made, or the time is over."""
        if self.settings.seconds is not None:
            return self.elapsed >= self.settings.seconds
        return self.step >= self.settings.steps

    def run(self, on_checkpoint: Callable[[Trainer], None] | None = None) -> None:
        """Trains to the end with a progress bar, saving every `checkpoint_every` steps and at the end."""
        if self.is_finished():
            return
        settings, before, began = self.settings, self.elapsed, time.monotonic()
        last = settings.steps if settings.seconds is None else sys.maxsize
        batches = feed(self.sampler, self.step, last, settings.workers, pinned=self.device.type == "cuda")
        sums, since, started = torch.zeros(len(LOSSES), device=self.device), 0, began
        total = None if settings.seconds else settings.steps
        progress = tqdm(total=total, initial=self.step, unit="step", desc="detector", mininterval=5)
        with closing(batches), progress as bar:  # closed, the feed ends its processes
            for batch in batches:
                sums += self.train_step(batch)
                since += 1
                bar.update()
                self.elapsed = before + time.monotonic() - began
                if self.step % settings.checkpoint_every == 0 or self.is_finished():
                    means = dict(zip(LOSSES, (sums / since).tolist(), strict=True))
                    seconds = (time.monotonic() - started) / since
                    self.history.append({"step": self.step, "seconds_per_step": seconds, **means})
                    bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
                    sums, since, started = torch.zeros_like(sums), 0, time.monotonic()
                    self.save()
                    if on_checkpoint is not None:
                        on_checkpoint(self)
                if self.is_finished():
                    break
