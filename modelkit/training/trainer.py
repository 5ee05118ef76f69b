"""The training loop: resumable, repeatable, and kind to a machine that does other work as well.

All randomness of a step comes from (seed, step), and the learning rate is a function of the step, so a run
that was killed and started again continues exactly as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from modelkit.data.expressions import ExpressionSet
from modelkit.networks.architectures import build, computes_bfloat16, load_initial
from modelkit.networks.published import restore, start_from_mobilenet
from modelkit.training.augment import augment
from modelkit.training.checkpoint import write_checkpoint
from modelkit.training.degrade import equalized
from modelkit.training.manifests import input_spec
from modelkit.training.recipes import Recipe
from modelkit.training.targets import CLASSES, judge, mix, softened, targets
from modelkit.training.targets import loss as total_loss
from modelkit.training.teachers import Teacher
from serving.preprocess import prepare

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.json"
CALIBRATION = 512  # pictures to measure the statistics of a published model's layers on
GPU_LOOK = 16  # steps between two looks at what a GPU has computed; each look waits for it


class DivergedError(RuntimeError):
    """Training left the finite numbers; the last checkpoint is from before that."""


class ResumeError(RuntimeError):
    """The checkpoint in the work folder belongs to other settings or other data."""


@dataclass
class Epoch:
    """What one epoch gave; losses are natural-log cross entropies, accuracies shares."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass
class Progress:
    """Where a run stands; with the state dicts this is the whole checkpoint."""

    step: int = 0
    loss_sum: float = 0.0
    correct_sum: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)


class Trainer:
    """One run of one recipe.

    Args:
        recipe: every setting.
        train: what to learn from.
        validation: held-back part of the training data, to watch and to calibrate on.
        folder: checkpoint and history live here; it is created.
        device: where to compute.
        initial: what to start from instead of fresh weights: a safetensors file, the ONNX file of a published model,
            the `.pth` file of an EfficientNet-Lite (see `modelkit.networks.enlarge`), or the `.json` file of a face
            MobileNet (see `modelkit.networks.mobilenet`).
        taught: float32 [len(train), 7], what teachers say of each training picture; rows sum to 1.
        teachers: they are asked about every view, instead of `taught`.
        checkpoint_seconds: longest time between two checkpoints.

    Raises:
        ResumeError: `folder` holds a checkpoint of another run.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: ExpressionSet,
        validation: ExpressionSet,
        folder: Path,
        device: torch.device,
        *,
        initial: Path | None = None,
        taught: npt.NDArray[np.float32] | None = None,
        teachers: Sequence[Teacher] = (),
        checkpoint_seconds: float = 120.0,
    ) -> None:
        self.recipe, self.folder, self.device, self._teachers = recipe, folder, device, teachers
        self.checkpoint_seconds = checkpoint_seconds
        self.steps_per_epoch = max(len(train) // recipe.batch_size, 1)
        self.total_steps = self.steps_per_epoch * recipe.epochs
        self._images = torch.from_numpy(train.images).to(device)
        self._equalized = torch.from_numpy(equalized(train.images)).to(device) if recipe.equalized else None
        self._targets = targets(train, taught, recipe, plain=bool(teachers)).to(device)
        self._validation = validation
        self._identity = json.dumps(
            {
                "recipe": recipe.identity,
                "data": train.digest,
                "initial": initial.name if initial else None,
                "taught": hashlib.sha256(taught.tobytes()).hexdigest() if taught is not None else None,
            },
            sort_keys=True,
        )
        torch.manual_seed(recipe.seed)
        self.network = _network(recipe)
        if initial is not None and initial.suffix == ".onnx":
            restore(self.network, initial, self._prepared(train.images[:CALIBRATION]))
        elif initial is not None and initial.suffix == ".json":
            start_from_mobilenet(self.network, initial, recipe.std, self._prepared(train.images[:CALIBRATION]))
        elif initial is not None:
            load_initial(self.network, initial)
        self._start = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.network.to(device, memory_format=torch.channels_last)
        self.average = {key: value.clone() for key, value in self.network.state_dict().items()}
        self._judged: nn.Module | None = None
        self._loss, self._hits, self._norm = (torch.zeros((), device=device) for _ in range(3))
        self.optimizer = _optimizer(self.network, recipe)
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume()
        self._settled = self.progress.step
        self._pair_up()

    def run(self, stop_after: int | None = None) -> list[Epoch]:
        """Trains to the end, or until `stop_after` steps have been made; returns the history."""
        progress, last_save, last_tick = self.progress, time.monotonic(), time.monotonic()
        look = GPU_LOOK if self.device.type == "cuda" else 1
        bar = tqdm(total=self.total_steps, initial=progress.step, unit="step", desc=self.recipe.name, mininterval=2)
        for rows in self._batches():
            if stop_after is not None and progress.step >= stop_after:
                break
            self._step(rows)
            progress.step += 1
            ended = progress.step % self.steps_per_epoch == 0
            if not ended and progress.step % look:
                continue
            loss = self._settle()
            now = time.monotonic()
            progress.seconds, last_tick = progress.seconds + now - last_tick, now
            bar.update(progress.step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", lr=f"{self.learning_rate(progress.step):.4f}", refresh=False)
            if ended:
                bar.write(self._end_epoch())
            if time.monotonic() - last_save >= self.checkpoint_seconds:
                self.save()
                last_save = time.monotonic()
        bar.close()
        self._settle()
        self.save()
        return progress.history

    @property
    def finished(self) -> bool:
        return self.progress.step >= self.total_steps

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        done, warmup = step / self.total_steps, self.recipe.warmup
        if done < warmup:
            return self.recipe.learning_rate * max(done / warmup, 0.02)
        return self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

    def margin(self, step: int) -> float:
        """The angular margin in radians: 0 before the ramp, the recipe's after it."""
        start, end = (share * self.total_steps for share in self.recipe.margin_ramp)
        return self.recipe.margin * min(max((step - start) / max(end - start, 1), 0.0), 1.0)

    def augmentation_strength(self, step: int) -> float:
        """Linear between the recipe's points: views grow milder, so that the last epochs see pictures as they are."""
        shares, strengths = zip(*self.recipe.augmentation_schedule, strict=True)
        return float(np.interp(step / self.total_steps, shares, strengths))

    def view_size(self, step: int) -> int:
        """Side of the training views in pixels; small ones early on cost less and teach nearly as much."""
        done = step / self.total_steps
        return next((size for share, size in self.recipe.view_sizes if done < share), self.recipe.input_size)

    def averaged_network(self) -> nn.Module:
        """A network with the averaged weights, on the CPU, ready to evaluate.

        The recipe's `start_share` of them is what the run started from.
        """
        network = build(
            self.recipe.architecture, CLASSES * self.recipe.heads, self.recipe.input_size, self.recipe.options
        )
        return self._fill(network)

    def _fill(self, network: nn.Module) -> nn.Module:
        weights, share = dict(self.average), self.recipe.start_share
        if share:
            for key, value in weights.items():
                if value.is_floating_point():
                    weights[key] = torch.lerp(value, self._start[key].to(value.device), share)
        network.load_state_dict(weights)
        return network.eval()

    def _prepared(self, images: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(prepare(np.repeat(images[..., None], 3, axis=3), input_spec(self.recipe)))

    def _batches(self) -> Iterator[Tensor]:
        while self.progress.step < self.total_steps:
            epoch, offset = divmod(self.progress.step, self.steps_per_epoch)
            order = torch.randperm(len(self._images), generator=_generator(self.recipe.seed, epoch, 0)).to(self.device)
            size = self.recipe.batch_size
            for index in range(offset, self.steps_per_epoch):
                yield order[index * size : (index + 1) * size]

    def _step(self, rows: Tensor) -> None:
        recipe, step = self.recipe, self.progress.step
        generator = _generator(recipe.seed, step, 1, self.device)
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout and stochastic depth
        ranges = recipe.augmentation.scaled(self.augmentation_strength(step))
        views = augment(self._pictures(rows, generator), self.view_size(step), ranges, generator)
        views, wanted = mix(views, self._targets[rows], recipe, generator, np.random.default_rng((recipe.seed, step)))
        inputs = ((views - recipe.mean) / recipe.std).contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self._freeze(step)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=computes_bfloat16(self.device)):
            wanted = self._softened(views, wanted)
            logits = self.network.training_logits(inputs, wanted, self.margin(step))
        loss = total_loss(logits.float(), wanted)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self._update_average()
        self._loss += loss.detach()
        self._hits += (logits[:, :CLASSES].argmax(dim=1) == wanted[:, :CLASSES].argmax(dim=1)).float().mean()
        self._norm += norm

    def _pictures(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        if self._equalized is None:
            return self._images[rows]
        chosen = torch.rand(len(rows), generator=generator, device=self.device) < self.recipe.equalized
        return torch.where(chosen.view(-1, 1, 1), self._equalized[rows], self._images[rows])

    def _softened(self, views: Tensor, wanted: Tensor) -> Tensor:
        """The targets, in part replaced by the mean opinion of the teachers."""
        if not self._teachers:
            return wanted
        with torch.no_grad():
            opinion = torch.stack([teacher(views) for teacher in self._teachers]).mean(dim=0)
        return softened(wanted, opinion, self.recipe)

    def _settle(self) -> float:
        """Waits for what was computed since the last look and adds it up; the mean loss of these steps."""
        if not torch.isfinite(self._norm):
            step = self.progress.step - 1
            raise DivergedError(f"the gradient of step {step} is not finite; train with a lower --learning-rate")
        steps = self.progress.step - self._settled
        loss = float(self._loss)
        self.progress.loss_sum += loss
        self.progress.correct_sum += float(self._hits)
        self._settled = self.progress.step
        for total in (self._loss, self._hits, self._norm):
            total.zero_()
        return loss / max(steps, 1)

    def _freeze(self, step: int) -> None:
        frozen = self.recipe.frozen if step >= self.recipe.freeze_after * self.total_steps else ()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not name.startswith(frozen) if frozen else True)

    def _update_average(self) -> None:
        step = self.progress.step + 1
        decay = min(self.recipe.ema_decay, step / (step + 10))
        torch._foreach_lerp_(self._averaged, self._learnt, 1 - decay)
        for mean, value in self._counted:
            mean.copy_(value)

    def _pair_up(self) -> None:
        """Lists what `_update_average` goes through in every step."""
        pairs = [(self.average[key], value) for key, value in self.network.state_dict().items()]
        self._averaged = [mean for mean, _ in pairs if mean.is_floating_point()]
        self._learnt = [value for mean, value in pairs if mean.is_floating_point()]
        self._counted = [pair for pair in pairs if not pair[0].is_floating_point()]

    def _end_epoch(self) -> str:
        progress, steps = self.progress, self.steps_per_epoch
        crops = np.repeat(self._validation.images[..., None], 3, axis=3)
        if self._judged is None:
            self._judged = self.averaged_network().to(self.device)
        logits = answer(self._fill(self._judged), crops, self.recipe)
        loss, accuracy = judge(logits, self._validation)
        epoch = Epoch(
            epoch=progress.step // steps,
            train_loss=progress.loss_sum / steps,
            train_accuracy=progress.correct_sum / steps,
            validation_loss=loss,
            validation_accuracy=accuracy,
            seconds=progress.seconds,
        )
        progress.history.append(epoch)
        progress.loss_sum = progress.correct_sum = progress.seconds = 0.0
        return (
            f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.4f}  accuracy {epoch.train_accuracy:.4f}  "
            f"held back: loss {epoch.validation_loss:.4f}  accuracy {epoch.validation_accuracy:.4f}  "
            f"{epoch.seconds:.0f} s"
        )

    def save(self) -> None:
        """Writes the checkpoint so that a crash leaves the old one or the new one, never half of one."""
        state = {
            "identity": self._identity,
            "progress": asdict(self.progress),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        write_checkpoint(self.folder / CHECKPOINT, state)
        history = [asdict(epoch) for epoch in self.progress.history]
        (self.folder / HISTORY).write_text(json.dumps(history, indent=1) + "\n")

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self._identity:
            raise ResumeError(
                f"{path} was made with other settings or data; name those (--epochs, --learning-rate, --seed, "
                "--refine, --data), use another --work-dir, or remove it"
            )
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        values = dict(state["progress"])
        values["history"] = [Epoch(**epoch) for epoch in values["history"]]
        self.progress = Progress(**values)


def answer(network: nn.Module, crops: npt.NDArray[np.uint8], recipe: Recipe) -> npt.NDArray[np.float32]:
    """Logits of crops, prepared as serving prepares them.

    Args:
        network: in evaluation mode.
        crops: uint8 [N, H, W, 3], RGB.
        recipe: gives size, mean and standard deviation.

    Returns:
        float32 [N, classes].
    """
    spec, rows = input_spec(recipe), []
    device = next(network.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(crops), 256):
            inputs = torch.from_numpy(prepare(crops[start : start + 256], spec)).to(device)
            rows.append(network(inputs)[0].float().cpu().numpy())
    return np.concatenate(rows)


def _network(recipe: Recipe) -> nn.Module:
    return build(recipe.architecture, CLASSES * recipe.heads, recipe.input_size, recipe.options)


def _generator(seed: int, number: int, stream: int, device: torch.device | str = "cpu") -> torch.Generator:
    mixed = np.random.SeedSequence((seed, number, stream)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> np.uint64(1)))


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """No weight decay on biases and norms."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    fused = plain[0].device.type == "cuda"
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=fused)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True, fused=fused)
