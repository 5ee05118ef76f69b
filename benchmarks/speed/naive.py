"""The naive way: PyTorch eager float32, one image at a time, same architectures. Weights do not matter for speed."""

from __future__ import annotations

import time

import numpy as np
import torch

from modelkit.shims.ultralytics import install

install()

from serving.cpu import available_cpus  # noqa: E402
from serving.images.crop import cut_crops  # noqa: E402
from serving.images.decode import decode  # noqa: E402


class NaivePipeline:
    """Detector at 640 x 640, then both classifiers on one crop."""

    def __init__(self) -> None:
        from ultralytics.nn.tasks import DetectionModel

        from modelkit.networks.architectures import build
        from modelkit.training.recipes import RECIPES

        torch.set_num_threads(available_cpus())
        self._detector = DetectionModel("yolo11n.yaml", nc=7, verbose=False).float().eval()
        recipes = [RECIPES[name] for name in ("efficientnet", "arcface")]
        self._classifiers = [
            (build(r.architecture, 7, r.input_size, r.options).float().eval(), r.input_size) for r in recipes
        ]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def recognize(self, data: bytes) -> None:
        """One image, from bytes to the models' outputs; one face is taken as found."""
        image = decode(data)
        canvas = np.full((640, 640, 3), 114, np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image[:640, :640]
        self._detector(torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255)
        box = np.array([[200, 100, 300, 220]], np.float32)
        for model, size in self._classifiers:
            grey = cut_crops(image, box, size, 0.06)[..., 0].astype(np.float32)
            model(torch.from_numpy(grey)[:, None] / 255)

    def images_per_second(self, data: bytes, seconds: float) -> float:
        """Throughput of one image after the other."""
        for _ in range(3):
            self.recognize(data)
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.recognize(data)
            done += 1
        return done / (time.perf_counter() - started)
