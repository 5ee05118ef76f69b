"""What services that run models have in common: a host of models, and threads for the work around a run."""

from __future__ import annotations

from serving.cpu import available_cpus
from serving.models.batching.turns import Turns
from serving.models.host import Around, Frames, ModelHost
from serving.repository.manifest import Task
from serving.repository.policy import VersionPolicy
from serving.repository.repository import ModelRepository
from serving.server import Service
from serving.settings import ModelServiceSettings
from serving.thread_pool import ThreadPool


class ModelService(Service):
    """Serves the models of one task; SERVING when all of them are loaded and warm.

    Subclasses run models through `_host`, and what they do to the data before and after a run in `_pool`, which has a
    thread for each CPU.
    """

    runs_models = True

    def __init__(
        self,
        settings: ModelServiceSettings,
        policies: tuple[VersionPolicy, ...],
        task: Task,
        turns: Turns | None = None,
        *,
        around: Around | None = None,
        frames: Frames | None = None,
    ) -> None:
        """
        Args:
            settings: as the service was started with.
            policies: which models and versions.
            task: that they must be made for.
            turns: shared with other services of this process.
            around, frames: as for ModelHost.
        """
        repository = ModelRepository(settings.models_dir)
        self._host = ModelHost(repository, policies, task, settings, turns, around=around, frames=frames)
        self._pool = ThreadPool(available_cpus(), "data")

    async def start(self) -> None:
        """Loads and warms the models."""
        self._pool.begin()
        await self._host.start()

    async def stop(self) -> None:
        """Drains the models and ends the threads."""
        await self._host.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
