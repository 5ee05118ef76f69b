"""TensorRT's engines: built once for a model, a GPU and a set of versions, kept in a folder, found again.

An engine is machine code that TensorRT loads without looking: the folder must be as trusted as the program.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from serving.bounded_read import read_json
from serving.disk import clear_left
from serving.models.backends import Backend, load_backend
from serving.models.backends.buckets import bucket_sizes
from serving.models.backends.gpu import Gpu, GpuSettings, find_gpu, require, runtime_version, tensorrt_version
from serving.models.backends.providers import GpuPlan
from serving.repository.manifest import Encoding
from serving.repository.repository import StoredModel

log = logging.getLogger(__name__)

KEY_FILE = "engine.json"
_MOST_KEY_BYTES = 1 << 16
_LEFT_SECONDS = 86_400.0
"""No engine is built for so long."""
_NAME_A_FOLDER = "name a folder that can be written with --engine-cache or FERRY_ENGINE_CACHE"


class EngineError(RuntimeError):
    """An engine could not be built or kept; the message says why."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """All that decides whether an engine fits: it is loaded for nothing else.

    Attributes:
        digest: SHA-256 of the model file.
        shape: of one row; where it may be smaller, also that of the smallest.
        profile: least, most common and largest number of rows.
    """

    digest: str
    precision: str
    shape: tuple[int, ...]
    profile: tuple[int, int, int]
    onnxruntime: str
    tensorrt: str
    gpu: str
    compute_capability: str

    @property
    def folder(self) -> str:
        """Name of its folder: readable, and different for every key."""
        canonical = json.dumps(asdict(self), sort_keys=True).encode()
        card = re.sub(r"[^A-Za-z0-9]+", "-", self.gpu).strip("-").lower()[:40] or "gpu"
        return f"{card}-{self.precision}-{hashlib.sha256(canonical).hexdigest()[:32]}"


class EngineCache:
    """Folder of engines. A folder in it is whole once it holds its key."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def of(cls, settings: GpuSettings) -> Self:
        """The one that the settings name.

        Raises:
            EngineError: they name none, and this user has no cache.
        """
        if settings.engines is None:
            raise EngineError(f"engines cannot be kept, for this user has no home; {_NAME_A_FOLDER}")
        return cls(settings.engines)

    def folder(self, key: EngineKey) -> Path:
        """Where the engine of this key lies, or would lie."""
        return self._root / key.folder

    def has(self, key: EngineKey) -> bool:
        """Whether an engine was built for just this key."""
        try:
            kept = read_json(self.folder(key) / KEY_FILE, _MOST_KEY_BYTES)
        except (OSError, ValueError):
            return False
        return bool(kept == json.loads(json.dumps(asdict(key))))

    @contextmanager
    def building(self, key: EngineKey) -> Iterator[Path]:
        """A folder to build in; it takes its place when the context ends well, and is removed when it does not.

        Where another process has built the same meanwhile, that one stays.

        Raises:
            EngineError: the cache cannot be written, or nothing was built.
        """
        target = self.folder(key)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            clear_left(self._root, f".{key.folder}-*", _LEFT_SECONDS)
            staging = Path(tempfile.mkdtemp(prefix=f".{key.folder}-", dir=self._root))
        except OSError as error:
            raise EngineError(f"engines cannot be kept in {self._root} ({error.strerror}); {_NAME_A_FOLDER}") from error
        try:
            yield staging
            if not any(staging.glob("*.engine")):
                raise EngineError("TensorRT took no part of the model, so there is no engine to keep")
            try:
                staging.chmod(0o755)
                (staging / KEY_FILE).write_text(json.dumps(asdict(key), indent=1) + "\n")
            except OSError as error:
                raise EngineError(f"the engine cannot be kept as {target}: {error.strerror}") from error
            if target.exists() and not self.has(key):
                shutil.rmtree(target, ignore_errors=True)
            try:
                staging.rename(target)
            except OSError as error:
                if not self.has(key):
                    raise EngineError(f"the engine cannot be kept as {target}: {error.strerror}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def engine_key(stored: StoredModel, precision: str, variant: str, gpu: Gpu, max_batch: int) -> EngineKey:
    """The key of a model file on this machine."""
    plan = make_plan(stored, max_batch)
    digest = stored.manifest.files[stored.manifest.variants[variant]]
    return EngineKey(
        digest,
        precision,
        (*plan.shape, *plan.smallest) if plan.shapes else plan.shape,
        plan.profile,
        runtime_version(),
        tensorrt_version() or "none",
        gpu.name,
        gpu.compute_capability,
    )


def make_plan(stored: StoredModel, max_batch: int) -> GpuPlan:
    """Buckets and shapes by the manifest."""
    spec = stored.manifest.input
    full, *others = spec.row_shapes
    as_bytes = spec.encoding is Encoding.BYTES
    return GpuPlan(spec.name, full, bucket_sizes(max_batch), shapes=tuple(others), bytes_in=as_bytes)


def is_built(stored: StoredModel, precision: str, variant: str, settings: GpuSettings) -> bool:
    """Whether TensorRT could start at once."""
    gpu = find_gpu()
    if gpu is None or settings.engines is None:
        return False
    return EngineCache.of(settings).has(engine_key(stored, precision, variant, gpu, settings.max_batch))


def build(stored: StoredModel, precision: str, variant: str, settings: GpuSettings) -> Path:
    """Builds the engines of a model for every bucket, which takes minutes; returns their folder.

    Raises:
        GpuMissingError: TensorRT cannot be used here.
        ModelLoadError: it cannot load the model.
        EngineError: it builds nothing, or what it builds cannot be kept.
    """
    gpu, cache = require("tensorrt"), EngineCache.of(settings)
    key = engine_key(stored, precision, variant, gpu, settings.max_batch)
    plan = make_plan(stored, settings.max_batch)
    with cache.building(key) as staging:
        backend = load_backend(
            stored.file(variant), backend="tensorrt", precision=precision, plan=replace(plan, engines=staging)
        )
        for rows in plan.buckets:
            shape = (rows, *plan.shape)
            backend.run(np.zeros(shape, np.uint8) if plan.bytes_in else np.zeros(shape, np.float32))
    return cache.folder(key)


def load_on_gpu(stored: StoredModel, backend: str, precision: str, variant: str, settings: GpuSettings) -> Backend:
    """The model on a GPU. TensorRT's engines come from the cache; where it has none, they are built first.

    Raises:
        GpuMissingError: the backend cannot be used here.
        ModelLoadError: it cannot load the model.
        EngineError: see `build`.
    """
    gpu, plan = require(backend), make_plan(stored, settings.max_batch)
    if backend == "tensorrt":
        cache = EngineCache.of(settings)
        key = engine_key(stored, precision, variant, gpu, settings.max_batch)
        if not cache.has(key):
            log.warning(
                "building TensorRT engines of %s %s, which takes minutes; `ferry models build-engine` does it ahead",
                stored.manifest.name,
                stored.manifest.version,
            )
            build(stored, precision, variant, settings)
        plan = replace(plan, engines=cache.folder(key))
    return load_backend(stored.file(variant), backend=backend, precision=precision, plan=plan)
