"""Trains the detector: a small resumable loop over Ultralytics' network and loss.

Interrupted at any moment it continues from its last checkpoint with the very batches it would have seen.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from modelkit.detector.dataset import BATCHES, KINDS, LABEL_TRUST, PASTED, SWAPPED, Batch, Sampler
from modelkit.detector.material import Material, load_material
from modelkit.detector.network import build
from modelkit.published import restore_detector
from modelkit.ultralytics_shim import install

CHECKPOINT = "last.pt"
STARTS = "starts.json"
LOSSES = ("box", "cls", "dfl")


@dataclass(frozen=True)
class Settings:
    """What decides a training run; written into the model's record."""

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


def rate_at(step: int, settings: Settings) -> float:
    """The learning rate of a step: linear warm-up, then a half cosine down to `final_rate` of the peak."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = min((step - settings.warmup) / max(settings.steps - settings.warmup, 1), 1.0)
    share = settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
    return settings.learning_rate * share


def to_tensors(batch: Batch, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """Images as float [B, 3, S, S] in [0, 1] and the targets as Ultralytics' loss wants them."""
    images = torch.from_numpy(batch.images).to(device).permute(0, 3, 1, 2).float().div_(255)
    images = images.contiguous(memory_format=torch.channels_last)
    side = batch.images.shape[1]
    boxes = torch.from_numpy(batch.boxes).to(device) / side
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    targets = {
        "batch_idx": torch.from_numpy(batch.index).to(device).float(),
        "cls": torch.from_numpy(batch.classes).to(device).float().view(-1, 1),
        "bboxes": torch.cat([centres, sizes], 1),
    }
    return images, targets


def train_detector(
    data: Path,
    directory: Path,
    cache: Path,
    settings: Settings,
    *,
    pretrained: Path | None = None,
    pseudo: Path | None = None,
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
        pseudo: a table of `modelkit.detector.pseudo_labels`, or None.

    Raises:
        DataError: a data file is missing or not as it should be.
        FileNotFoundError: `pretrained` does not exist.
        ValueError: `pretrained` is an ONNX file of another architecture.
    """
    from modelkit.architectures import pick_device

    material, sources = load_material(data, cache, pseudo=pseudo)
    trainer = Trainer(material, directory, settings, pretrained, str(pick_device()))
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / STARTS
    starts = json.loads(file.read_text()) if file.is_file() else []
    recipe = {"batches": BATCHES, "kinds": KINDS, "swapped": SWAPPED, "pasted": PASTED, "label_trust": LABEL_TRUST}
    starts.append({"step": trainer.step, "settings": asdict(settings), "sources": asdict(sources), "recipe": recipe})
    file.write_text(json.dumps(starts, indent=2))
    trainer.run()


class Trainer:
    """One run in `directory`: network, moving average of its weights, optimiser, history."""

    def __init__(
        self, material: Material, directory: Path, settings: Settings, pretrained: Path | None, device: str = "cpu"
    ) -> None:
        install()
        from ultralytics.utils.loss import v8DetectionLoss

        torch.manual_seed(settings.seed)
        self.settings = settings
        self.directory = directory
        self.device = torch.device(device)
        self.sampler = Sampler(material, settings.seed)
        published = pretrained is not None and pretrained.suffix == ".onnx"
        net = build(settings.architecture, None if published else pretrained)
        if pretrained is not None and published and not (directory / CHECKPOINT).is_file():
            images, _ = to_tensors(self.sampler.batch(0), torch.device("cpu"))
            restore_detector(net, pretrained, images)
        self.net = net.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.net.train()
        self.net.args.cls = settings.cls_gain
        self.loss = v8DetectionLoss(self.net)
        decayed = [p for p in self.net.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.999))
        self.step = 0
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
        self.step, self.history = state["step"], state["history"]

    def save(self) -> None:
        """Writes the checkpoint so that a kill at any moment leaves the old or the new one, never half of one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "settings": asdict(self.settings),
        }
        partial = self.directory / (CHECKPOINT + ".partial")
        torch.save(state, partial)
        partial.replace(self.directory / CHECKPOINT)

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the three losses per image."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        if self.step >= self.settings.freeze_after:
            self._freeze()
        images, targets = to_tensors(self.sampler.batch(self.step), self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            raw = self.net(images)
        predictions = {k: [f.float() for f in v] if isinstance(v, list) else v.float() for k, v in raw.items()}
        total, _ = self.loss(predictions, targets)
        losses = total.detach() / len(images)
        self.optimizer.zero_grad(set_to_none=True)
        total.sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.gradient_clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        self._follow()
        return dict(zip(LOSSES, losses.tolist(), strict=True))

    def _freeze(self) -> None:
        """Stops learning in the first layers: at the highest resolution they cost a third and settle soonest."""
        for layer in self.net.model[: self.settings.frozen_layers]:
            layer.requires_grad_(False).eval()

    def _follow(self) -> None:
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)

    def run(self, on_checkpoint: Callable[[Trainer], None] | None = None) -> None:
        """Trains to the last step with a progress bar, saving every `checkpoint_every` steps and at the end."""
        sums: dict[str, float] = dict.fromkeys(LOSSES, 0.0)
        since, started = 0, time.monotonic()
        with tqdm(total=self.settings.steps, initial=self.step, unit="step", desc="detector", mininterval=5) as bar:
            while self.step < self.settings.steps:
                for name, value in self.train_step().items():
                    sums[name] += value
                since += 1
                bar.update()
                if self.step % self.settings.checkpoint_every == 0 or self.step == self.settings.steps:
                    means = {name: value / since for name, value in sums.items()}
                    seconds = (time.monotonic() - started) / since
                    self.history.append({"step": self.step, "seconds_per_step": seconds, **means})
                    bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
                    sums, since, started = dict.fromkeys(LOSSES, 0.0), 0, time.monotonic()
                    self.save()
                    if on_checkpoint is not None:
                        on_checkpoint(self)
