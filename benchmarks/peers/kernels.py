"""The three models with all that is done before and after them, for every server alike.

It stands on the standard library, NumPy, Pillow, ONNX Runtime and OpenVINO alone, since it runs in environments that
know nothing of Ferry. What it computes is what Ferry answers; `benchmarks.peers.equality` looks whether it does.
"""

from __future__ import annotations

import io
import json
import math
import os
import queue
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

# OpenVINO would report each import to its makers over the network.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprised")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
PAD = 114
PLAN = "FERRY_PEERS_PLAN"
"""Environment variable with the plan, JSON."""

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """How the models are run.

    Attributes:
        models: folder of each model's version, the detector first.
        backends: `onnxruntime` or `openvino`, of each model.
        weights: of the models after the detector, in the vote.
        precision: `fp32` or `bf16` (OpenVINO's, where the processor has it).
        threads: of one run.
        runs: at the same time, in one process.
        detector_batch: images of one run of the detector; classifiers take all faces of a batch at once.
        crop_size, crop_margin: as the ensembler's recipe says.
        rectangular: give the detector the smallest frame that its manifest allows, not always the full one.
        task: `recognize` (an encoded image in, faces out) or `classify` (one crop as raw pixels in, seven probabilities
            out, by the one model that is named).
    """

    models: tuple[str, ...]
    backends: tuple[str, ...]
    weights: tuple[float, ...]
    precision: str = "fp32"
    threads: int = 1
    runs: int = 1
    detector_batch: int = 1
    crop_size: int = 64
    crop_margin: float = 0.06
    rectangular: bool = True
    task: str = "recognize"

    def environment(self) -> dict[str, str]:
        """For the process that runs it."""
        return {PLAN: json.dumps(self.__dict__)}

    @classmethod
    def from_environment(cls) -> Plan:
        """Raises KeyError where the variable is missing."""
        fields: dict[str, Any] = json.loads(os.environ[PLAN])
        for name in ("models", "backends", "weights"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


class Model:
    """One model of the repository, by one backend; `run` may be called from several threads."""

    def __init__(self, folder: Path, backend: str, precision: str, threads: int, runs: int) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        path = str(folder / self.manifest["variants"]["default"])
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._open_vino = backend == "openvino"
        if self._open_vino:
            import openvino as ov

            config = {
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads * runs,
                "NUM_STREAMS": runs,
                "ENABLE_CPU_PINNING": False,
            }
            graph = ov.Core().read_model(path)
            names = [output.get_any_name() for output in graph.outputs]
            self._index = names.index(self.manifest["output"]["scores"])
            compiled = ov.Core().compile_model(graph, "CPU", config)
            for _ in range(runs):
                self._free.put(compiled.create_infer_request())
        else:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            (self._input,) = [value.name for value in session.get_inputs()]
            for _ in range(runs):
                self._free.put(session)

    def run(self, rows: Any) -> Floats:
        """The scores of what `rows_of` made."""
        engine = self._free.get()
        try:
            if self._open_vino:
                engine.infer([rows], share_inputs=True)
                return np.array(engine.get_output_tensor(self._index).data, np.float32)
            return np.asarray(engine.run([self.manifest["output"]["scores"]], {self._input: rows})[0], np.float32)
        finally:
            self._free.put(engine)


@dataclass(frozen=True)
class _Seen:
    pixels: Pixels
    frame: Pixels
    scale: tuple[float, float]
    pad: tuple[int, int]


class Kernels:
    """From encoded images to faces. May be called from several threads; `plan.runs` of them get on at a time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.models = [
            Model(Path(folder), backend, plan.precision, plan.threads, plan.runs)
            for folder, backend in zip(plan.models, plan.backends, strict=True)
        ]
        self._turns = threading.Semaphore(plan.runs)

    def answer(self, bodies: Sequence[bytes]) -> list[Any]:
        """What the task says, one answer a body: what a server calls with whatever it has gathered."""
        if self.plan.task == "recognize":
            return self.recognize(bodies)
        side = self.plan.crop_size
        crops = np.stack([np.frombuffer(body, np.uint8).reshape(side, side, 3) for body in bodies])
        return self.opinion(self.models[0], crops).tolist()  # type: ignore[no-any-return]

    def recognize(self, images: Sequence[bytes]) -> list[list[dict[str, Any]]]:
        """The faces of each image, surest first: box (4 pixels), score, expression, probabilities (7)."""
        with self._turns:
            seen = [self._look(data) for data in images]
            found = self._detect(seen)
            crops = [
                crop
                for view, (boxes, _) in zip(seen, found, strict=True)
                for crop in (cut(view.pixels, box, self.plan.crop_size, self.plan.crop_margin) for box in boxes)
            ]
            fused = self.classify(np.stack(crops)) if crops else np.empty((0, 7), np.float32)
        answers, start = [], 0
        for boxes, scores in found:
            shares = fused[start : start + len(boxes)]
            start += len(boxes)
            answers.append(
                [
                    {
                        "box": box.tolist(),
                        "score": float(score),
                        "expression": EXPRESSIONS[int(share.argmax())],
                        "probabilities": share.tolist(),
                    }
                    for box, score, share in zip(boxes, scores, shares, strict=True)
                ]
            )
        return answers

    def classify(self, crops: Pixels) -> Floats:
        """The vote of the classifiers on uint8 [N, H, W, 3]: float32 [N, 7]."""
        total = np.zeros((len(crops), 7), np.float64)
        for model, weight in zip(self.models[1:], self.plan.weights, strict=True):
            total += weight * self.opinion(model, crops)
        return np.asarray(total / total.sum(axis=1, keepdims=True), np.float32)

    def opinion(self, model: Model, crops: Pixels) -> Floats:
        """One classifier's probabilities: float32 [N, 7]."""
        logits = model.run(rows_of(crops, model.manifest["input"])).astype(np.float64)
        return by_expression(softmax(logits / model.manifest["output"]["temperature"]), model.manifest["labels"])

    def _look(self, data: bytes) -> _Seen:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB"))
        spec = self.models[0].manifest["input"]
        width, height = spec["width"], spec["height"]
        rows, columns = pixels.shape[:2]
        scale = min(width / columns, height / rows)
        inner = (min(max(round(columns * scale), 1), width), min(max(round(rows * scale), 1), height))
        if self.plan.rectangular:
            width, height = smallest_frame(inner, spec)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        small = Image.fromarray(pixels).resize(inner, RESAMPLING[spec["resize"]], reducing_gap=2.0)
        frame = np.full((height, width, 3), PAD, np.uint8)
        frame[top : top + inner[1], left : left + inner[0]] = np.asarray(small)
        return _Seen(pixels, frame, (inner[0] / columns, inner[1] / rows), (left, top))

    def _detect(self, seen: Sequence[_Seen]) -> list[tuple[Floats, Floats]]:
        detector, found = self.models[0], []
        for start in range(0, len(seen), self.plan.detector_batch):
            part = seen[start : start + self.plan.detector_batch]
            groups = [part] if len({view.frame.shape for view in part}) == 1 else [[view] for view in part]
            for group in groups:
                raw = detector.run(rows_of(np.stack([view.frame for view in group]), detector.manifest["input"]))
                found += [faces(row, view, detector.manifest) for row, view in zip(raw, group, strict=True)]
        return found


def smallest_frame(inner: tuple[int, int], spec: dict[str, Any]) -> tuple[int, int]:
    """Width and height of the detector's input for a picture of that size in it: the shorter side may be less."""
    width, height = spec["width"], spec["height"]
    frames = [(width, height)]
    for side in spec.get("sides", ()):
        frames += [(width, side)] * (side < height) + [(side, height)] * (side < width)
    return min((f for f in frames if f[0] >= inner[0] and f[1] >= inner[1]), key=lambda f: f[0] * f[1])


def rows_of(pixels: Pixels, spec: dict[str, Any]) -> Any:
    """Colour, size and normalisation by the manifest, as its encoding says: float32 [N, C, H, W], or uint8 [N, H, W, C]
    where the graph normalises. Frames for a detector have their size."""
    grey = spec["color"] == "grey"
    if grey:
        r, g, b = (pixels[..., i].astype(np.uint32) for i in range(3))
        pixels = ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(np.uint8)
        size = (spec["width"], spec["height"])
        if pixels.shape[1:3] != size[::-1]:
            filter_ = RESAMPLING[spec["resize"]]
            pixels = np.stack([np.asarray(Image.fromarray(one).resize(size, filter_)) for one in pixels])
    if spec.get("encoding", "float32") == "uint8":
        return np.ascontiguousarray(pixels[..., None] if grey else pixels)
    planes = pixels[:, None] if grey else pixels.transpose(0, 3, 1, 2)
    std = np.asarray(spec["std"], np.float32).reshape(1, -1, 1, 1)
    mean = np.asarray(spec["mean"], np.float32).reshape(1, -1, 1, 1)
    rows = np.empty(planes.shape, np.float32)
    np.multiply(planes, 1 / (255 * std), out=rows, dtype=np.float32)
    if mean.any():
        rows -= mean / std
    return rows


def faces(raw: Floats, view: _Seen, manifest: dict[str, Any]) -> tuple[Floats, Floats]:
    """Boxes float32 [N, 4] in pixels of the image and scores float32 [N], surest first, after suppression."""
    rules = manifest["detection"]
    classes = np.clip(raw[4:], 0, 1)
    scores = np.minimum(classes.sum(axis=0), 1.0) if rules["score_rule"] == "sum" else classes.max(axis=0)
    sure = np.flatnonzero(scores >= rules["score_threshold"])
    sure = sure[np.argsort(-scores[sure], kind="stable")[:1000]]
    centre, half = raw[:2, sure].T, raw[2:4, sure].T / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    scores = scores[sure]
    limit = np.array([*view.pixels.shape[1::-1]] * 2, np.float32)
    boxes = np.clip((boxes - np.array(view.pad * 2, np.float32)) / np.array(view.scale * 2, np.float32), 0, limit)
    order = np.arange(len(boxes))
    kept: list[int] = []
    while len(order) and len(kept) < 64:
        best, order = order[0], order[1:]
        kept.append(int(best))
        shared = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        common = np.clip(shared, 0, None).prod(axis=1)
        areas = (boxes[order, 2:] - boxes[order, :2]).prod(axis=1)
        union = (boxes[best, 2:] - boxes[best, :2]).prod() + areas - common
        order = order[common <= rules["iou_threshold"] * union]
    return boxes[kept].astype(np.float32), scores[kept].astype(np.float32)


def cut(image: Pixels, box: Floats, size: int, margin: float) -> Pixels:
    """The square crop around a box, uint8 [size, size, 3]; what lies outside the image repeats its edge."""
    x1, y1, x2, y2 = (float(value) for value in box)
    half = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * margin) / 2
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    square = (middle_x - half, middle_y - half, middle_x + half, middle_y + half)
    left, top = max(math.floor(square[0]) - 1, 0), max(math.floor(square[1]) - 1, 0)
    region = image[top : max(math.ceil(square[3]) + 1, 0), left : max(math.ceil(square[2]) + 1, 0)]
    window = [value - origin for value, origin in zip(square, (left, top, left, top), strict=True)]
    rows, columns = region.shape[:2]
    before = [max(math.ceil(-value), 0) for value in window[:2]]
    after = [max(math.ceil(window[2] - columns), 0), max(math.ceil(window[3] - rows), 0)]
    if any(before) or any(after):
        region = np.pad(region, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    x1, y1, x2, y2 = (value + before[i % 2] for i, value in enumerate(window))
    return np.asarray(Image.fromarray(region).resize((size, size), Image.Resampling.BILINEAR, box=(x1, y1, x2, y2)))


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows that sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def by_expression(shares: npt.NDArray[np.float64], labels: Sequence[dict[str, Any]]) -> Floats:
    """Columns by label to columns by expression, renormalised."""
    known = np.zeros((len(shares), 7))
    for column, label in enumerate(labels):
        if label["expression"] is not None:
            known[:, EXPRESSIONS.index(label["expression"])] += shares[:, column]
    return np.asarray(known / known.sum(axis=1, keepdims=True), np.float32)
