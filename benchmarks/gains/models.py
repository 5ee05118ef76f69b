"""Gains of single models: the runtime, batches, and keeping them loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.gains.row import Figures, Row
from serving.cpu import available_cpus
from serving.models.backends import Backend, load_backend
from serving.models.backends.base import Rows
from serving.models.backends.timing import median_ms
from serving.models.tuning import probe
from serving.preprocess import floats
from serving.repository.repository import StoredModel

BATCH = 16


def runtime(models: list[StoredModel], seconds: float) -> Iterator[Row]:
    """ONNX Runtime instead of PyTorch, one row a run. Weights do not matter for speed; the architecture is the same."""
    for model in models:
        name = model.manifest.name
        row = Row("ONNX Runtime instead of PyTorch", name, "1.5-2x, no change", "PyTorch eager, float32")
        try:
            eager = _eager(model)
        except ModuleNotFoundError as error:
            yield Row(row.technique, name, row.promise, row.against, note=f"skipped: {error.name} is not installed")
            continue
        except KeyError:
            yield Row(row.technique, name, row.promise, row.against, note="skipped: no recipe of that name")
            continue
        backend, rows = _backend(model), probe(model.manifest.input, 1)
        before, after = median_ms([eager, partial(backend.run, rows)], seconds)
        yield Row(
            row.technique,
            name,
            row.promise,
            row.against,
            Figures(1000 / before, before),
            Figures(1000 / after, after),
            "an export whose probabilities differ from PyTorch's by more than 0.001 is refused",
        )


def batches(models: list[StoredModel], seconds: float) -> Iterator[Row]:
    """Sixteen rows a run against one."""
    for model in models:
        backend = _backend(model)
        one, many = probe(model.manifest.input, 1), probe(model.manifest.input, BATCH)
        calls = [partial(backend.run, one), partial(backend.run, many)]
        before, after = median_ms(calls, seconds)
        yield Row(
            f"batch inference ({BATCH})",
            model.manifest.name,
            "3-5x throughput",
            "one row a run",
            Figures(1000 / before, before),
            Figures(BATCH * 1000 / after, after),
            f"p50 is that of a run of {BATCH}",
        )


def kept_loaded(models: list[StoredModel], seconds: float) -> Iterator[Row]:
    """A model that stays loaded against one that is loaded for each request."""
    for model in models:
        backend, rows = _backend(model), probe(model.manifest.input, 1)
        calls: list[Callable[[], object]] = [
            partial(_load_and_run, model, rows),
            partial(backend.run, rows),
        ]
        before, after = median_ms(calls, seconds)
        yield Row(
            "models kept loaded",
            model.manifest.name,
            "50-100 ms saved per request",
            "loaded for each request",
            Figures(1000 / before, before),
            Figures(1000 / after, after),
            f"{before - after:.0f} ms saved per request",
        )


def _load_and_run(model: StoredModel, rows: Rows) -> object:
    return _backend(model).run(rows)


def _backend(model: StoredModel) -> Backend:
    return load_backend(model.file(), threads=available_cpus())


def untrained_classifier(model: StoredModel) -> Any:
    """The network of a classifier as its recipe builds it; its weights do not matter for speed.

    Raises:
        KeyError: no recipe makes such a model.
    """
    from modelkit.networks.architectures import Symmetric, build
    from modelkit.training.recipes import RECIPES

    recipe, spec = RECIPES[model.manifest.name], model.manifest.input
    network = build(recipe.architecture, len(model.manifest.labels), spec.width, recipe.options)
    return Symmetric(network) if recipe.symmetric else network


def _eager(model: StoredModel) -> Callable[[], object]:
    """One row through PyTorch, as the model was trained. Raises KeyError where no recipe makes such a model."""
    import torch

    torch.set_num_threads(available_cpus())
    rows = torch.from_numpy(floats(probe(model.manifest.input, 1), model.manifest.input))
    network: torch.nn.Module
    if model.manifest.detection is not None:
        from modelkit.shims.ultralytics import install

        install()
        from ultralytics.nn.tasks import DetectionModel

        network = DetectionModel(f"{model.manifest.architecture}.yaml", nc=len(model.manifest.labels), verbose=False)
    else:
        network = untrained_classifier(model)
    network.float().eval()

    def run() -> object:
        with torch.inference_mode():
            return network(rows)

    return run
