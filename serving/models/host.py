"""The models of a service: loaded, warmed, swapped for newer versions, drained. No request fails in a swap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ferry.v1 import types_pb2
from serving.cpu import available_cpus
from serving.daemon_thread import in_daemon_thread
from serving.errors import NotFoundError
from serving.models import tuning
from serving.models.apart.helper import ModelApart
from serving.models.backends import Backend, ModelLoadError
from serving.models.backends.base import Rows, Run
from serving.models.backends.gpu import GpuMissingError, GpuSettings
from serving.models.batching.batcher import MicroBatcher
from serving.models.batching.policy import BatchPolicy
from serving.models.batching.result import BatchResult, Finish
from serving.models.batching.turns import Turns
from serving.models.load_failures import LoadFailures
from serving.models.measuring import alone
from serving.models.outputs import check_outputs
from serving.models.tuning import Candidate
from serving.repository.manifest import Manifest, Task
from serving.repository.policy import VersionPolicy
from serving.repository.repository import STABLE, InvalidModelError, ModelRepository, StoredModel
from serving.settings import ModelServiceSettings
from serving.telemetry import metrics
from serving.watched_file import Signature, signature

log = logging.getLogger(__name__)

Around = Callable[[Manifest, Run], Run]
Frames = Callable[[StoredModel, Candidate], Iterable[tuple[int, int]]]
_Opened = tuple[StoredModel, Candidate, Backend, ModelApart]
_TURN_SECONDS = 60.0
"""How long a new version waits at most for those that other services of this machine load."""
_REST = 1.0
"""Seconds between two runs that warm a new version, for each second that the one before took: so long the CPUs are for
those who serve meanwhile."""


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model version that answers; `around`: its runs are more than the model's own."""

    stored: StoredModel
    how: Candidate
    backend: Backend
    batcher: MicroBatcher
    apart: ModelApart
    """Where suspects are run."""
    around: bool = False
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    digest: str = ""
    """The manifest's, which takes a millisecond to compute; every answer names it."""

    def __post_init__(self) -> None:
        self.digest = self.stored.manifest.digest

    async def run(self, rows: Rows, deadline: float, finish: Finish | None = None, *, apart: bool) -> BatchResult:
        """As MicroBatcher.submit.

        Args:
            rows: see there.
            deadline: see there.
            finish: see there; it is not called for suspects, and where a GPU would wait for it.
            apart: a replica was lost with the request that they are of: they run in a process of their own.

        Raises:
            LostError: that process ended, too.
            ServiceError: as MicroBatcher.submit.
        """
        if apart:
            return await self.apart.run(rows, deadline)
        return await self.batcher.submit(rows, deadline, finish if self.how.device == "cpu" else None)

    async def close(self) -> None:
        """Waits for what is under way."""
        await self.batcher.close()
        self.apart.close()

    @property
    def manifest(self) -> Manifest:
        return self.stored.manifest

    def version(self) -> types_pb2.ModelVersion:
        """As the contract names it."""
        m = self.manifest
        return types_pb2.ModelVersion(name=m.name, version=m.version, digest=self.digest)

    def labels(self) -> tuple[str, ...]:
        m = self.manifest
        return m.name, m.version, self.digest[:12], f"{self.backend.name}:{self.backend.device}", self.backend.precision


class ModelHost:
    """Holds the versions that the policies ask for. Lives on one event loop."""

    def __init__(
        self,
        repository: ModelRepository,
        policies: tuple[VersionPolicy, ...],
        task: Task,
        settings: ModelServiceSettings,
        turns: Turns | None = None,
        *,
        around: Around | None = None,
        frames: Frames | None = None,
    ) -> None:
        """
        Args:
            repository: where they lie.
            policies: which models and versions.
            task: that they must be made for.
            settings: of the service.
            turns: shared with other hosts; None: these models have the CPUs to themselves.
            around: makes of a model's run another one, with more before and after it on the same thread; None, and
                where a GPU would wait for that: the run is the model's own.
            frames: widths and heights in which a model is run, as loaded, besides those of its manifest.
        """
        self._turns = turns or Turns(available_cpus())
        self._around = around
        self._frames = frames
        self._repository = repository
        self._policies = policies
        self._task = task
        self._settings = settings
        self._models: dict[tuple[str, str], LoadedModel] = {}
        self._current: dict[str, str] = {}
        self._failures = LoadFailures()
        self._watcher: asyncio.Task[None] | None = None
        self._draining: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Loads and warms every version asked for, then follows the repository.

        Raises:
            NotFoundError: a model or version is not in the repository.
            InvalidModelError: a version must not be served.
            ModelLoadError: no backend can load it.
            GpuMissingError: the settings want a GPU, and there is none that could be used.
        """
        for policy in self._policies:
            self._failures.forget(policy.name, wanted=())
            for version in policy.versions:
                model = await self._load(policy.name, version)
                self._current.setdefault(policy.name, model.manifest.version)
        if self._settings.reload_interval and any(policy.follows for policy in self._policies):
            self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Drains and releases every model. One that is being loaded is left."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await asyncio.gather(*self._draining, *(self._drain(self._models.pop(key)) for key in list(self._models)))

    @contextmanager
    def use(self, name: str = "", version: str = "") -> Iterator[LoadedModel]:
        """The model, kept loaded for as long as the context lasts.

        Args:
            name: empty: the first model of the policies.
            version: empty: the one that is current.

        Raises:
            NotFoundError: it is not served here; the message lists what is.
        """
        name = name or self._policies[0].name
        model = self._models.get((name, version or self._current.get(name, "")))
        if model is None:
            served = ", ".join(f"{n} {v}" for n, v in sorted(self._models))
            raise NotFoundError(
                f"model {name[:64]!r} version {version[:16] or 'current'!r} is not served here; there is {served}"
            )
        model.users += 1
        model.idle.clear()
        try:
            yield model
        finally:
            model.users -= 1
            if model.users == 0:
                model.idle.set()

    def models(self) -> list[LoadedModel]:
        """Every version that answers at present."""
        return list(self._models.values())

    def describe(self, name: str = "", version: str = "") -> LoadedModel:
        """The model, to look at its manifest; to run it, `use` it.

        Raises:
            NotFoundError: as `use`.
        """
        with self.use(name, version) as model:
            return model

    async def versions(self) -> list[tuple[str, str]]:
        """Name and version of all that the repository holds of the models of the policies, or that is loaded."""
        stored = await asyncio.to_thread(self._stored)
        return sorted({*stored, *self._models}, key=lambda found: (found[0], int(found[1])))

    def load_failure(self, name: str) -> types_pb2.LoadFailure | None:
        """What keeps a version of the model from being served in place of the one that is; None: nothing does."""
        return self._failures.newest(name)

    async def refresh(self) -> None:
        """Swaps in the version that each model is to serve, and drains the old one.

        That is the stable version for a policy that follows it, and for `latest` the newest good one. A version that
        cannot be loaded is tried again when its files change, and with ever longer pauses; what is served stays.
        """
        for policy in self._policies:
            if not policy.follows:
                continue
            better = []
            for version in await in_daemon_thread(self._wanted, policy, name="look-for-versions"):
                if version == self._current[policy.name] or await self._take_over(policy.name, version):
                    break
                better.append(version)
            self._failures.forget(policy.name, wanted=better)

    def _stored(self) -> list[tuple[str, str]]:
        names = [policy.name for policy in self._policies]
        return [(name, version) for name in names for version in self._repository.versions(name)]

    def _wanted(self, policy: VersionPolicy) -> list[str]:
        """Versions to serve, best first."""
        if policy.versions != (STABLE,):
            return self._repository.versions(policy.name)[::-1]
        try:
            stable = self._repository.stable(policy.name)
        except InvalidModelError as error:
            log.error("%s; %s stays", error, self._current[policy.name])
            return []
        return [] if stable is None else [stable]

    async def _take_over(self, name: str, version: str) -> bool:
        """Whether `version` could be loaded and answers from now on."""
        files = _signature(self._repository.root / name / version)
        if not self._failures.is_due(name, version, files):
            return False
        try:
            await self._load(name, version, self._models[name, self._current[name]].how)
        except Exception as error:
            self._failures.failed(name, version, files, error)
            return False
        old = self._models.pop((name, self._current[name]))
        self._current[name] = version
        log.info("%s %s took over from %s", name, version, old.manifest.version)
        task = asyncio.create_task(self._drain(old))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.reload_interval)
            try:
                await self.refresh()
            except Exception as error:
                log.exception("cannot look for new model versions: %s", error)

    async def _load(self, name: str, version: str, like: Candidate | None = None) -> LoadedModel:
        started = time.monotonic()
        stored, how, backend, apart = await in_daemon_thread(self._open, name, version, like, name=f"load-{name}")
        manifest = stored.manifest
        settings = self._settings
        most = _most_rows(settings, how, self._task)
        policy = BatchPolicy(
            most,
            settings.max_wait_ms / 1000,
            settings.max_queue,
            how.runs,
            how.threads,
            min(tuning.MANY_ROWS[self._task], most) if self._task is Task.CLASSIFY else 1,
        )
        # A GPU's runs take no CPUs.
        turns = self._turns if how.device == "cpu" else None
        around = self._around if how.device == "cpu" else None
        run = backend.run if around is None else around(manifest, backend.run)
        batcher = MicroBatcher(
            run, policy, model=manifest.name, version=manifest.version, turns=turns, overlaps=backend.overlaps
        )
        model = LoadedModel(stored, how, backend, batcher, apart, around is not None)
        model.idle.set()
        batcher.start()
        self._models[manifest.name, manifest.version] = model
        metrics.MODEL_INFO.labels(*model.labels()).set(1)
        what = {"digest": manifest.digest[:12], "backend": backend.name, "precision": backend.precision}
        way = {"runs": how.runs, "threads": how.threads, "threads_at_rest": how.rest or how.threads, "rows": most}
        seconds = round(time.monotonic() - started, 3)
        log.info("loaded %s %s", manifest.name, manifest.version, extra={**what, **way, "seconds": seconds})
        return model

    def _open(self, name: str, version: str, like: Candidate | None) -> _Opened:
        """On a worker thread: verified, loaded the fastest way, warmed.

        A version that takes over from one that serves (`like`) has time, and leaves it to those who serve: replicas on
        one machine, which all see it at once, load it one after the other, and rest between the runs that warm it.
        """
        with contextlib.nullcontext() if like is None else alone(_TURN_SECONDS):
            return self._open_now(name, version, like)

    def _open_now(self, name: str, version: str, like: Candidate | None) -> _Opened:
        stored = self._repository.open(name, version)
        if stored.manifest.task is not self._task:
            raise InvalidModelError(f"{stored.directory} is made to {stored.manifest.task}, not to {self._task}")
        try:
            settings = self._settings
            how, backend = tuning.open_fastest(
                stored,
                threads=settings.threads,
                runs=settings.runs,
                backend=settings.backend,
                reduced=settings.optimized,
                device=settings.device,
                gpu=GpuSettings(settings.max_batch, settings.engine_cache),
                like=like,
            )
            spec = stored.manifest.input
            rest = 0.0 if like is None else _REST
            more = () if self._frames is None else self._frames(stored, how)
            for size, frame in [
                *((s, None) for s in warm_sizes(_most_rows(settings, how, self._task))),
                *((1, f) for f in (*spec.frames[1:], *more)),
            ]:
                began = time.monotonic()
                check_outputs(stored.manifest, backend.warm(tuning.probe(spec, size, frame)), size)
                time.sleep(rest * (time.monotonic() - began))
        except (InvalidModelError, ModelLoadError, GpuMissingError):
            raise
        except Exception as error:
            raise InvalidModelError(f"{stored.directory} does not run as its manifest says: {error}") from error
        return stored, how, backend, ModelApart(stored.file())

    async def _drain(self, model: LoadedModel) -> None:
        """Of a model that is not in `_models` any more."""
        await model.idle.wait()
        await model.close()
        # After a rollback the same version may be back, under the same labels.
        if model.labels() not in {other.labels() for other in self._models.values()}:
            with contextlib.suppress(KeyError):
                metrics.MODEL_INFO.remove(*model.labels())


def _most_rows(settings: ModelServiceSettings, how: Candidate, task: Task) -> int:
    """Of one run: as set, or fewer where more only made each row slower. On a CPU a classifier's rows become no cheaper
    by more than `MANY_ROWS`, and what is left waiting is there at once when the run ends: with runs of all that waited,
    CPUs stood still until new requests had come."""
    most = how.batch
    if not most and task is Task.CLASSIFY and how.device == "cpu":
        most = tuning.MANY_ROWS[task]
    return min(settings.max_batch, most or settings.max_batch)


def _signature(directory: Path) -> Signature:
    """Of a version's files, without what tuning leaves beside them, or had begun to write when it was killed."""
    try:
        return signature(path for path in directory.iterdir() if not path.name.startswith((".", "tuning-", "tuned-")))
    except OSError:
        return ()


def warm_sizes(max_batch: int) -> list[int]:
    """Batch sizes to run once before serving: each up to 4, then powers of two, and the largest."""
    return sorted({size for size in (1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512) if size < max_batch} | {max_batch})
