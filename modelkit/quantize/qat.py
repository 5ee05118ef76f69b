"""Quantization-aware fine-tuning: the network learns, with rounding in place, to answer as it did without.

Its own float answers are the teacher, so no label is needed and nothing is learnt but to be quantized.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from modelkit.data.expressions import DataError
from modelkit.quantize.convert import StaticQuantizer
from modelkit.quantize.network import GraphNetwork
from modelkit.quantize.places import Rounding, find_places
from modelkit.quantize.progress import Progress
from modelkit.training.augment import Augmentation, augment
from serving.repository.manifest import Activation, Manifest

BATCH = 32
LEAST_PICTURES = 2 * BATCH
RATE = 1e-3
"""Peak step of a weight, as a share of its tensor's root mean square; Adam's steps are of about that size."""

RANGE_RATE = 1e-2
"""Peak step of the logarithm of a range's end."""

WARMUP = 0.1
VIEWS = Augmentation(erase=0.25).scaled(0.5)
KEEP_EVERY = 20
"""Steps after which progress is kept: a few minutes are lost at most where a run is stopped."""

SEED = 7
CPU = torch.device("cpu")


class TuningError(RuntimeError):
    """Fine-tuning came to nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What fine-tuning did: the mean loss of the first and of the last tenth of its steps."""

    steps: int
    first_loss: float
    last_loss: float


def fine_tune(
    prepared: Path,
    quantizer: StaticQuantizer,
    images: npt.NDArray[np.uint8],
    manifest: Manifest,
    *,
    steps: int,
    keep_float: list[str],
    seven_bits: bool,
    threads: int = 1,
    device: torch.device = CPU,
    progress: Progress | None = None,
) -> Tuned:
    """Fine-tunes a prepared model, in its file, and the ranges that the quantizer found for it.

    Args:
        prepared: float32 model, as `prepare_graph` wrote it.
        quantizer: calibrated on it; what it would round is rounded here.
        images: uint8 [N, H, W], grey training pictures.
        manifest: of the model; input, output and temperature are looked at.
        steps: of BATCH pictures.
        keep_float: nodes that stay in float.
        seven_bits: of the weights; as the quantizer was told.
        threads: to compute with.
        device: to compute on.
        progress: where a run that is stopped is kept, and taken up; None: it starts over.

    Raises:
        DataError: too few pictures.
        ValueError: the graph has an operator that cannot be trained through.
        TuningError: the loss left the finite numbers.
    """
    if len(images) < LEAST_PICTURES:
        raise DataError(
            f"quantization-aware fine-tuning needs {LEAST_PICTURES} pictures of the training split or more, and there "
            f"are {len(images)}; give more with --data, or use --method static"
        )
    model = onnx.load(prepared)
    teacher = GraphNetwork(model).to(device).requires_grad_(False)
    student = copy.deepcopy(teacher).requires_grad_(True)
    draft = prepared.with_suffix(".draft.onnx")
    quantizer.write(draft, keep_float=keep_float)
    rounding = Rounding(find_places(onnx.load(draft)), seven_bits=seven_bits).to(device)
    optimizer, schedule = _optimizer(student, rounding, steps)
    generator = torch.Generator().manual_seed(SEED)
    pictures, losses = torch.from_numpy(images), list[float]()
    parts: dict[str, Any] = {"student": student, "rounding": rounding, "optimizer": optimizer, "schedule": schedule}
    kept = None if progress is None else progress.read()
    if kept is not None:
        for name, part in parts.items():
            part.load_state_dict(kept[name])
        generator.set_state(kept["generator"])
        losses = kept["losses"]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in tqdm(range(len(losses), steps), "fine-tuning", initial=len(losses), total=steps, leave=False):
            rows = torch.randint(len(pictures), (BATCH,), generator=generator)
            inputs = _views(pictures[rows], manifest, generator).to(device)
            with torch.no_grad():
                wanted = teacher(inputs)
            loss = distance(student(inputs, rounding), wanted, manifest)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TuningError(f"the loss of step {len(losses)} is not finite; use --method static")
            if progress is not None and ((step + 1) % KEEP_EVERY == 0 or step + 1 == steps):
                state = {name: part.state_dict() for name, part in parts.items()}
                progress.write(state | {"generator": generator.get_state(), "losses": losses})
    finally:
        torch.set_num_threads(before)
    student.write(model)
    onnx.save(model, prepared)
    quantizer.set_ranges(rounding.ranges())
    tenth = max(steps // 10, 1)
    return Tuned(steps, float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:])))


def distance(answers: dict[str, Tensor], wanted: dict[str, Tensor], manifest: Manifest) -> Tensor:
    """How far answers are from those of the teacher.

    Kullback-Leibler divergence of the probabilities that users see (Hinton et al., 2015), or the mean square where the
    model has no softmax; and one minus the cosine of the embeddings, where there are any.
    """
    output = manifest.output
    scores, aim = answers[output.scores], wanted[output.scores]
    if output.activation is Activation.SOFTMAX:
        ours, theirs = (functional.log_softmax(values / output.temperature, dim=1) for values in (scores, aim))
        result = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    else:
        result = functional.mse_loss(scores, aim)
    if output.embedding is not None:
        cosine = functional.cosine_similarity(answers[output.embedding], wanted[output.embedding])
        result = result + (1 - cosine).mean()
    return result


def _views(pictures: Tensor, manifest: Manifest, generator: torch.Generator) -> Tensor:
    """Random views, prepared as the manifest says: float32 [N, C, H, W]."""
    spec = manifest.input
    views = augment(pictures, max(spec.width, spec.height), VIEWS, generator)
    if spec.width != spec.height:
        views = functional.interpolate(views, (spec.height, spec.width), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return (views - mean) / std


def _optimizer(student: GraphNetwork, rounding: Rounding, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    groups: list[dict[str, Any]] = [{"params": list(rounding.parameters()), "lr": RANGE_RATE}]
    for weight in student.parameters():
        size = float(weight.detach().square().mean().sqrt())
        groups.append({"params": [weight], "lr": RATE * size})

    def share(step: int) -> float:
        done = step / steps
        return min(done / WARMUP + 1 / steps, 1.0) if done < WARMUP else 0.5 * (1 + math.cos(math.pi * done))

    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)
