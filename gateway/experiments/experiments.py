"""The parts that keep what variants are judged by, put together for one gateway."""

from __future__ import annotations

from gateway.experiments.budget import Budget
from gateway.experiments.feedback import Feedback
from gateway.experiments.queue import RecordQueue
from gateway.experiments.recorder import Recorder
from gateway.experiments.salt import Salt
from gateway.settings import GatewaySettings
from gateway.store.client import StoreClient
from serving.telemetry import metrics


class Experiments:
    """One event loop.

    Attributes:
        recorder: keeps exposures and pairs.
        feedback: takes labels.
    """

    def __init__(self, settings: GatewaySettings, store: StoreClient) -> None:
        ttl = settings.record_days * 86400
        salt = Salt(store)
        budget = Budget(store, settings.record_bytes, ttl)
        self._queue = RecordQueue(store, budget, ttl, salt.agree)
        self.recorder = Recorder(self._queue, store, salt, settings.record_rate, ttl)
        self.feedback = Feedback(store, salt, self._queue.flush, ttl, settings.labelling_clients)
        for kind in ("exposure", "pair"):
            # A rate misses the first increment of a series that was not there before.
            for result in ("kept", "sampled", "queue", "full", "refused", "unavailable"):
                metrics.RECORDS.labels(kind, result)

    def start(self) -> None:
        """Records go to Redis from now on."""
        self._queue.start()

    async def stop(self) -> None:
        """Writes what waits, for a bounded time."""
        await self._queue.stop()
