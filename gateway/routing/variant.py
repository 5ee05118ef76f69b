"""One variant of the pipeline: the ensembler behind it, and what is known of its models."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from ferry.v1 import ensembler_pb2, ensembler_pb2_grpc
from gateway.routing.predictions import PredictionCounter
from serving.errors import DeadlineError, ServiceError
from serving.freshness import Freshest
from serving.rpc.same_process import is_local
from serving.rpc.upstream import DEFAULT_SILENCE, Upstream
from serving.telemetry import metrics

log = logging.getLogger(__name__)

_POLL_TIMEOUT_SECONDS = 1.0
_MISSES = 3
"""Looks in a row without an answer after which an ensembler counts as lost; one is an accident."""
_SHOWN_DIGITS = 16
"""Of a fingerprint in metrics: enough to tell pipelines apart."""
_UNKNOWN_INTERVAL_SECONDS = 0.2
"""Between two looks at a pipeline that has just not answered, or that is not known yet: nothing is cached before. Or
that calls wait for: they are not to be refused, and soon are again."""
_SILENCE_SECONDS, _SILENCE_CALLS = 0.2, 3
"""So long without a word while so many calls are under way: perhaps they wait for somebody who is away."""
_WATCH_SECONDS = 0.05
"""Between two looks whether it is so."""


class Variant:
    """Asks one ensembler and keeps its fingerprint fresh: by asking every `interval`, and from every answer.

    Who works with a variant holds it (`with variant:`); one that leaves the routing table closes when nobody does.

    Attributes:
        name: such as `stable`; a label of metrics.
        address: `host:port` of the ensembler.
        traffic_share: of all requests, [0, 1].
        predictions: counts its answers.
        entries: the recipe as last heard of.
    """

    def __init__(
        self, name: str, traffic_share: float, address: str, *, timeout: float, interval: float, max_age: float
    ) -> None:
        """
        Args:
            name: as above.
            traffic_share: as above.
            address: as above.
            timeout: seconds to wait for an answer; the caller's own deadline, where earlier, counts.
            interval: seconds between two looks at the pipeline.
            max_age: seconds without word from the ensembler after which the fingerprint counts as unknown.
        """
        self.name = name
        self.address = address
        self.predictions = PredictionCounter(name)
        self.traffic_share = traffic_share
        self._fingerprint = Freshest("")
        self.entries: tuple[ensembler_pb2.RecipeEntry, ...] = ()
        self._upstream: Upstream | None = None
        self._timeout = timeout
        self._interval = interval
        self._max_age = max_age
        self._reachable: bool | None = None
        self._misses = 0
        self._heard_at = 0.0
        self._waiting = False
        self._shown = ""
        self._polling: asyncio.Task[None] | None = None
        self._holders = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def fingerprint(self) -> str:
        """Of the pipeline as last heard of; empty while it is not known."""
        return self._fingerprint.value

    @property
    def is_here(self) -> bool:
        """Whether its models are in this process, which then decodes pictures."""
        return is_local(self.address)

    @property
    def healthy(self) -> bool:
        """Whether the ensembler answered last and every model of the recipe is available."""
        return bool(self._reachable and self.fingerprint) and all(entry.available for entry in self.entries)

    @property
    def lost(self) -> bool:
        """Whether the ensembler did not answer when it was looked for, several times in a row."""
        return self._reachable is False

    @property
    def disturbed(self) -> bool:
        """Whether calls wait for something that is away, and not for each other, as far as is known."""
        return not self.healthy or self._waiting or (self._upstream is not None and self._upstream.away)

    @property
    def able(self) -> bool:
        """Whether it could answer an image, as far as is known: by its ensembler and a detector behind that."""
        return bool(self._reachable) and all(entry.available for entry in self.entries[:1])

    def __enter__(self) -> Self:
        self._holders += 1
        self._idle.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holders -= 1
        if not self._holders:
            self._idle.set()

    async def start(self) -> None:
        """Connects and looks once; an ensembler that does not answer yet is no error."""
        self._upstream = Upstream(
            self.address,
            name="ensembler",
            health_service="ferry.v1.Ensembler",
            caller="gateway",
            # An ensembler may itself wait for a detector that hangs, and ask another one.
            silence=2 * DEFAULT_SILENCE,
            decodes=False,
        )
        self._stub = ensembler_pb2_grpc.EnsemblerStub(self._upstream.channel)
        await self._poll()
        self._polling = asyncio.create_task(self._keep_polling())

    async def stop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        if self._upstream is not None:
            await self._upstream.close()

    def leave(self) -> None:
        """Ends the looks at the pipeline: another one may have the name now, and its metrics."""
        if self._polling is not None:
            self._polling.cancel()
        self.forget_pipeline()

    async def retire(self) -> None:
        """Stops when nobody holds it any more, or when every call's time must be up."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await self._idle.wait()
        finally:
            await self.stop()

    async def recognize(
        self, image: bytes, options: ensembler_pb2.RecognizeOptions, patience: float
    ) -> ensembler_pb2.EnsemblerRecognizeResponse:
        """The pipeline's answer.

        Args:
            image: encoded.
            options: how to look at it.
            patience: as for serving.rpc.upstream.Upstream.call.

        Raises:
            ServiceError: as Upstream.call.
        """
        assert self._upstream is not None
        asked_at = time.monotonic()
        request = ensembler_pb2.EnsemblerRecognizeRequest(image=image, options=options)
        try:
            with self:
                answer = await self._upstream.call(
                    self._stub.Recognize, request, timeout=self._timeout, patience=patience
                )
        except DeadlineError:
            raise
        except ServiceError:
            self._heard_at = time.monotonic()
            raise
        self._heard_at = time.monotonic()
        self._hear(answer.fingerprint, asked_at)
        return answer

    def forget_pipeline(self) -> None:
        """Takes its pipeline out of the metrics: it has left the routing table."""
        if self._shown:
            with suppress(KeyError):
                metrics.VARIANT_PIPELINE.remove(self.name, self._shown)
            self._shown = ""

    def show_pipeline(self) -> None:
        """Puts its pipeline, as last heard of, into the metrics, in the place of the one shown before."""
        shown = self.fingerprint[:_SHOWN_DIGITS]
        if shown != self._shown:
            self.forget_pipeline()
        if shown:
            metrics.VARIANT_PIPELINE.labels(self.name, shown).set(1)
        self._shown = shown

    def _hear(self, fingerprint: str, asked_at: float) -> None:
        # That a pipeline is still unknown is no news. Taken for some, it would outdate the first answer, which is on
        # its way and knows the pipeline; the same image, sent again at once, would then be computed again.
        if fingerprint or self.fingerprint:
            self._fingerprint.hear(fingerprint, asked_at)

    async def _keep_polling(self) -> None:
        while True:
            await self._until_due()
            try:
                await self._poll()
            except Exception as error:
                log.exception("looking for the pipeline failed, trying again: %s", error)
            finally:
                self._heard_at = time.monotonic()

    async def _until_due(self) -> None:
        known = self.fingerprint and not self._misses and not self._waiting
        due = time.monotonic() + (self._interval if known else min(self._interval, _UNKNOWN_INTERVAL_SECONDS))
        while (now := time.monotonic()) < due:
            if self._holders >= _SILENCE_CALLS and now - self._heard_at > _SILENCE_SECONDS:
                return
            await asyncio.sleep(min(due - now, _WATCH_SECONDS))

    async def _poll(self) -> None:
        assert self._upstream is not None
        asked_at = time.monotonic()
        request = ensembler_pb2.GetPipelineRequest()
        try:
            pipeline = await self._upstream.call(self._stub.GetPipeline, request, timeout=_POLL_TIMEOUT_SECONDS)
        except ServiceError as error:
            self._missed(error, asked_at)
        else:
            if not self._reachable:
                log.info("pipeline known", extra={"variant": self.name, "fingerprint": pipeline.fingerprint})
            self._reachable = True
            self._misses = 0
            self.entries = tuple(pipeline.entries)
            self._waiting = pipeline.required_model_unavailable
            self._hear(pipeline.fingerprint, asked_at)
        metrics.VARIANT_HEALTHY.labels(self.name).set(self.healthy)
        self.show_pipeline()

    def _missed(self, error: ServiceError, asked_at: float) -> None:
        before, self._misses = self._misses, min(self._misses + 1, _MISSES)
        if before < self._misses == _MISSES:
            log.warning("pipeline not known: %s", error.message, extra={"variant": self.name})
            self._reachable = False
        elif self._reachable is None:
            # One that has never answered is not there: no accident can hide what is not known. It may still start.
            log.info("pipeline not known yet: %s", error.message, extra={"variant": self.name})
            self._reachable = False
        if asked_at - self._fingerprint.asked_at > self._max_age:
            self._fingerprint.value = ""
