"""The ways to run a model that are compared: on the CPU, on a GPU by ONNX Runtime, on a GPU by PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gains.models import untrained_classifier
from serving.cpu import available_cpus
from serving.models.backends import load_backend
from serving.models.backends.base import Outputs, Rows
from serving.models.backends.engines import make_plan
from serving.models.backends.gpu import PROVIDERS, lacks
from serving.models.backends.gpu_runtime import GpuBackend
from serving.models.backends.providers import GpuPlan, provider_list
from serving.repository.repository import StoredModel

Run = Callable[[Rows], Outputs]
SERVED = "CUDA float32, as served"
BASE = "CPU float32, all threads"
FEW_ROWS = 8
"""More in one run say nothing new of a single thread, and take long."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model.

    Attributes:
        run: from rows to outputs, both in the host's memory.
        note: what is worth knowing of it once it has run, such as whether its CUDA graphs were recorded.
    """

    run: Run
    note: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Way:
    """How a model can be run.

    Attributes:
        answers: whether its answers are those of the published weights, and so worth comparing.
        most_rows: of one run; None: any number.
    """

    name: str
    open: Callable[[], Opened]
    answers: bool = True
    most_rows: int | None = None


def ways(stored: StoredModel, max_batch: int, scratch: Path, *, gpu: bool) -> Iterator[Way]:
    """Those that exist here for a model; BASE first.

    Args:
        stored: the model.
        max_batch: rows of the largest run.
        scratch: a folder for files made on the way.
        gpu: whether to offer those of a GPU; PyTorch's are on the CPU without.
    """
    threads = available_cpus()
    yield Way(BASE, partial(_cpu, stored.file(), threads))
    if gpu and not lacks("cuda"):
        plan = make_plan(stored, max_batch)
        fixed, tf32 = replace(plan, fixed=not plan.fixed), replace(plan, tf32=True)
        name = "a session for each bucket" if fixed.fixed else "one session for all buckets"
        yield Way(SERVED, partial(_bound, stored.file(), plan, "fp32"))
        yield Way(f"CUDA float32, {name}", partial(_bound, stored.file(), fixed, "fp32"))
        for title, own in (("CUDA float16", plan), (f"CUDA float16, {name}", fixed)):
            yield Way(title, partial(_half, stored, scratch, partial(_bound, plan=own, precision="fp16")))
        yield Way("CUDA float32, neither buffers nor graphs", partial(_plain, stored.file(), plan))
        yield Way("CUDA float32, no graphs", partial(_bound, stored.file(), replace(plan, graphs=False), "fp32"))
        yield Way("CUDA TF32", partial(_bound, stored.file(), tf32, "fp32"))
    elif not gpu:
        yield Way("CPU float16 file", partial(_half, stored, scratch, partial(_cpu, threads=threads)))
    for kind in ("float32", "float16", "bfloat16") if gpu else ("float32",):
        yield Way(f"PyTorch {kind}", partial(_eager, stored, kind, "cuda" if gpu else "cpu"), answers=False)
    yield Way("CPU float32, 1 thread", partial(_cpu, stored.file(), 1), most_rows=FEW_ROWS)


def half_file(stored: StoredModel, folder: Path) -> Path:
    """The model in float16, as `ferry models quantize --method fp16` makes it where no layer has to stay in float32."""
    target = folder / f"{stored.manifest.name}.fp16.onnx"
    if not target.exists():
        from modelkit.quantize.graph import prepare_graph
        from modelkit.quantize.half import HalfConverter

        with tempfile.TemporaryDirectory() as scratch:
            prepared = Path(scratch) / "prepared.onnx"
            prepare_graph(stored.file(), prepared)
            HalfConverter(prepared).write(target)
    return target


def _cpu(file: Path, threads: int) -> Opened:
    return Opened(load_backend(file, threads=threads).run)


def _bound(file: Path, plan: GpuPlan, precision: str) -> Opened:
    backend = GpuBackend(file, backend="cuda", plan=plan, precision=precision)

    def note() -> str:
        if not plan.graphs:
            return "bound buffers"
        return "bound buffers, CUDA graphs" if backend.graphs else "bound buffers; the model allows no CUDA graphs"

    return Opened(backend.run, note)


def _half(stored: StoredModel, folder: Path, load: Callable[[Path], Opened]) -> Opened:
    return load(half_file(stored, folder))


def _plain(file: Path, plan: GpuPlan) -> Opened:
    """As a first program with ONNX Runtime does it; tells which provider took how many nodes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = provider_list("cuda", plan, "fp32", graphs=False)
    session = ort.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
    if PROVIDERS["cuda"] not in session.get_providers():
        raise RuntimeError(f"{PROVIDERS['cuda']} could not be loaded")
    name, outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def run(rows: Rows) -> Outputs:
        return dict(zip(outputs, session.run(outputs, {name: rows}), strict=True))

    return Opened(run, lambda: _assigned(session))


def _assigned(session: Any) -> str:
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return ", ".join(f"{count} nodes by {name}" for name, count in counts.items())


def _eager(stored: StoredModel, kind: str, device: str) -> Opened:
    """The architecture as it was trained. KeyError where no recipe makes it."""
    import torch

    precision = getattr(torch, kind)
    network = untrained_classifier(stored).to(device, precision).eval()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def run(rows: Rows) -> Outputs:
        with torch.inference_mode():
            logits, embedding = network(torch.from_numpy(rows).to(device, precision))
        answers = {"logits": logits} if embedding is None else {"logits": logits, "embedding": embedding}
        return {name: np.asarray(answer.float().cpu().numpy()) for name, answer in answers.items()}

    return Opened(run, lambda: "eager")
