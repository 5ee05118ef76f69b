"""The way of one image through the gateway: admission, cache, pipeline, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import grpc

from ferry.v1 import ensembler_pb2, gateway_pb2, types_pb2
from gateway.admission.checks import Checks
from gateway.admission.permit import Permit
from gateway.cache.entry import Entry, Faces, count_faces
from gateway.cache.result_cache import ResultCache
from gateway.cache.single_flight import SingleFlight
from gateway.experiments.recorder import Asked, Recorder
from gateway.recognize.question import Question
from gateway.routing.copied import Answered, Original
from gateway.routing.hints import FORCED, NO_HINTS, Hints
from gateway.routing.predictions import BYPASS, COALESCED, HIT, MISS
from gateway.routing.router import Router
from gateway.routing.table import STABLE
from gateway.routing.variant import Variant
from serving.errors import ServiceError
from serving.rpc.context import acquit, is_suspect, request_id
from serving.telemetry import metrics

_OTHERS_WOULD_FAIL = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED})
"""What another variant would not mend: a request that is wrong, and time that is up."""
_CALLERS_OWN = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND})
"""What says nothing about the variant."""
_ALONE_SECONDS = 0.008
"""For Redis to answer, before the models are asked too; it takes a tenth of that."""
_BRIEFLY_SECONDS = 1.0
"""How long a variant that `stable` can stand in for may have been away: as long as it takes to connect anew."""


Admit = Callable[[], Permit]
"""Gives permission to work, to be used as a context at once, or raises an OverloadedError."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one computation gives to all who wait for it.

    Attributes:
        payload: a serialised RecognizeResponse without what belongs to a single request.
        faces: how many of them show what.
        timings: the pipeline's; None when the answer came from the cache.
        degraded: whether a model did not answer for some face.
    """

    payload: bytes
    faces: Faces
    timings: types_pb2.Timings | None
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request on its way.

    Attributes:
        question: the image and its options.
        bypass_cache: as in the request.
        started: when it came, time.monotonic() seconds.
        key: what it fell to its variant by.
        recorded: who is asking, where the answer may be kept to judge variants by.
        permit: under which the call is worked on, where it has one of its own.
        failure: name of the status with which the variant that it fell to failed before.
    """

    question: Question
    bypass_cache: bool
    started: float
    key: bytes
    recorded: Asked | None
    permit: Permit | None
    failure: str = ""


class Recognizer:
    """Recognises images, by asking the cache first where it may."""

    def __init__(
        self,
        checks: Checks,
        router: Router,
        cache: ResultCache | None,
        patience: float,
        recorder: Recorder | None = None,
        *,
        away: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            checks: what is refused.
            router: chooses who answers.
            cache: None: nothing is cached.
            patience: seconds that a variant may have had no replica before its calls fail, where none stands in for it.
            recorder: keeps what variants are judged by; None: nothing is kept.
            away: is told where a call to `stable` ended since something that it needs is away. Of other variants it is
                not: whoever may ask for one by name could say so as often as they like.
        """
        self._checks = checks
        self._router = router
        self._cache = cache
        self._patience = patience
        self._recorder = recorder
        self._away = away
        self._flights: SingleFlight[_Outcome] = SingleFlight(lambda outcome: outcome.degraded)
        self._coalesced = metrics.CACHE_REQUESTS.labels("memory", "coalesced")

    async def recognize(
        self, request: gateway_pb2.RecognizeRequest, hints: Hints = NO_HINTS, admit: Admit | None = None
    ) -> gateway_pb2.RecognizeResponse:
        """As `recognize_bytes`, as a message."""
        answer = await self.recognize_bytes(request.image, request, hints, admit)
        return gateway_pb2.RecognizeResponse.FromString(answer)

    async def recognize_bytes(
        self,
        image: bytes,
        request: gateway_pb2.RecognizeRequest,
        hints: Hints = NO_HINTS,
        admit: Admit | None = None,
        looked: Callable[[bool], None] | None = None,
    ) -> bytes:
        """The answer to one image: of the variant that the caller falls to, or of `stable` where that one fails.

        Args:
            image: the request's.
            request: what is asked about it.
            hints: what decides the variant.
            admit: gives permission for what is not kept in memory: what is costs no more than the image's digest, and
                is answered however much there is to do (unless answers are recorded). None: there is permission.
            looked: is told whether the answer lay in memory, to be given without permission, if it may lie there.

        Returns:
            A serialised RecognizeResponse: a kept answer is neither read nor written anew.

        Raises:
            InvalidArgumentError: the image or an option; the field says which.
            NotFoundError: the variant asked for by name.
            OverloadedError: of `admit`.
            ServiceError: what the pipeline said.
        """
        started = time.monotonic()
        options = request.options
        self._checks.check(image, options)
        # What callers lose are gateways, and those that are nothing else look at no more of a picture than its header.
        if is_suspect() and not self._router.decodes and self._checks.is_ordinary(image):
            acquit()
        question = Question(image, options)
        with ExitStack() as held:
            choice = self._router.choose(hints)
            variant = held.enter_context(choice.variant)
            kept = self._kept(variant, question, bypass_cache=request.bypass_cache)
            # Where answers are judged, who is refused must not depend on what is kept of whose variant.
            free = kept is not None and self._recorder is None
            if looked is not None and not request.bypass_cache:
                looked(free)
            with nullcontext() if admit is None or free else admit() as permit:
                choice.count()
                asked = _Asked(question, request.bypass_cache, started, hints.key, self._asked(hints), permit)
                try:
                    if kept is not None:
                        return self._answer(kept, variant, HIT, asked)
                    if variant.name == STABLE or hints.assigned == FORCED:
                        return await self._ask_alone(variant, asked)
                    return await self._ask_or_fall_back(variant, held, asked)
                except BaseException as error:
                    self._unanswered(asked.recorded, started, error)
                    raise

    async def _ask_alone(self, variant: Variant, asked: _Asked) -> bytes:
        """Nobody stands in for it."""
        try:
            return await self._answer_of(variant, asked, self._patience)
        except ServiceError as error:
            self._failed(variant.name, error)
            raise

    async def _ask_or_fall_back(self, variant: Variant, held: ExitStack, asked: _Asked) -> bytes:
        """`stable` stands in for it; `held` is what keeps the variant until then."""
        try:
            return await self._answer_of(variant, asked, _BRIEFLY_SECONDS)
        except ServiceError as error:
            self._failed(variant.name, error)
            if error.code in _OTHERS_WOULD_FAIL or error.suspect:
                raise
            asked = replace(asked, failure=error.code.name)
        held.close()
        metrics.VARIANT_FALLBACKS.labels(variant.name).inc()
        with self._router.stable as stable:
            kept = self._kept(stable, asked.question, bypass_cache=asked.bypass_cache)
            if kept is not None:
                return self._answer(kept, stable, HIT, asked)
            return await self._ask_alone(stable, asked)

    def _failed(self, variant: str, error: ServiceError) -> None:
        metrics.VARIANT_ERRORS.labels(variant, error.code.name).inc()
        if variant == STABLE and error.code is grpc.StatusCode.UNAVAILABLE:
            self._away()

    def _asked(self, hints: Hints) -> Asked | None:
        """Who is asking, where that is to be kept: an answer of a variant that was asked for by name judges nobody."""
        if self._recorder is None or not hints.key or not self._recorder.wants():
            return None
        return Asked(hints.key, self._router.assigned(hints), self._router.shares)

    def _unanswered(self, recorded: Asked | None, started: float, error: BaseException) -> None:
        """A caller who went away, and a request that is wrong, say nothing of the variant."""
        if self._recorder is None or recorded is None:
            return
        if isinstance(error, ServiceError) and error.code not in _CALLERS_OWN:
            seconds = time.monotonic() - started
            self._recorder.answered(recorded, "", b"", cached=False, seconds=seconds, error=error.code.name)
        else:
            self._recorder.unused()

    def _kept(self, variant: Variant, question: Question, *, bypass_cache: bool) -> _Outcome | None:
        """The answer of `variant` that lies in memory."""
        if self._cache is None or bypass_cache or not variant.fingerprint:
            return None
        entry = self._cache.get_local(question.key(variant.fingerprint))
        return None if entry is None else _found(entry)

    async def _answer_of(self, variant: Variant, asked: _Asked, patience: float) -> bytes:
        """What is not kept in memory."""
        if self._cache is None or asked.bypass_cache or not variant.fingerprint:
            cache = None if asked.bypass_cache else self._cache
            outcome, took_part = await self._ask_and_keep(cache, variant, asked, patience), BYPASS
        else:
            key = asked.question.key(variant.fingerprint)
            find = partial(self._find_or_ask, self._cache, key, variant, asked, patience)
            # Of each variant its own, though two may run one pipeline: what fails one is not to fail the other.
            outcome, joined = await self._flights.run(variant.name.encode() + key, find, partial(find, again=True))
            took_part = HIT if outcome.timings is None else COALESCED if joined else MISS
            if joined:
                self._coalesced.inc()
        return self._answer(outcome, variant, took_part, asked)

    async def _find_or_ask(
        self, cache: ResultCache, key: bytes, variant: Variant, asked: _Asked, patience: float, *, again: bool = False
    ) -> _Outcome:
        """Who keeps answers is asked first, and alone for a moment: whatever has become of Redis costs no more."""
        looking = asyncio.create_task(cache.get_shared(key))
        ask = partial(self._ask_and_keep, cache, variant, asked, patience, again=again)
        try:
            await asyncio.wait({looking}, timeout=_ALONE_SECONDS)
            if not looking.done():
                return await _first(looking, ask)
            entry = looking.result()
        finally:
            looking.cancel()
        return await ask() if entry is None else _found(entry)

    async def _ask_and_keep(
        self, cache: ResultCache | None, variant: Variant, asked: _Asked, patience: float, *, again: bool = False
    ) -> _Outcome:
        """An image that is asked about again, since its first answer lacked something, is counted and copied once."""
        question = asked.question
        if not is_suspect():  # the header of such an image is for the detector, which looks at it at arm's length
            await self._checks.check_header(question.image)
        started = time.monotonic()
        answer = await variant.recognize(question.image, question.options, patience)
        seconds = time.monotonic() - started
        if not again:
            variant.predictions.distributions.count(answer)
        outcome = _outcome(answer, seconds)
        if cache is not None and answer.fingerprint and not answer.degraded:
            # Under the pipeline that made it, which in a rollout need not be the one that was expected.
            cache.put(question.key(answer.fingerprint), outcome.payload)
        if self._router.has_shadows and not again and not is_suspect():
            told = Answered(variant.name, answer, seconds)
            name = "" if asked.recorded is None else request_id()
            self._router.copy(Original(question.image, question.options, told, name, asked.key))
        return outcome

    def _answer(self, outcome: _Outcome, variant: Variant, took_part: str, asked: _Asked) -> bytes:
        """What is kept and what belongs to this request, one after the other: so protobuf merges messages."""
        seconds, cached = time.monotonic() - asked.started, outcome.timings is None
        if cached and asked.permit is not None:
            asked.permit.found()
        timings = types_pb2.Timings()
        if outcome.timings is not None:
            timings.CopyFrom(outcome.timings)
        timings.total_ms = seconds * 1000
        own = gateway_pb2.RecognizeResponse(
            variant=variant.name,
            request_id=request_id(),
            cached=cached,
            timings=timings,
        )
        variant.predictions.count(outcome.faces, took_part, seconds, degraded=outcome.degraded)
        if self._recorder is not None and asked.recorded is not None:
            self._recorder.answered(
                asked.recorded, variant.name, outcome.payload, cached=cached, seconds=seconds, error=asked.failure
            )
        return outcome.payload + own.SerializeToString()


async def _first(looking: asyncio.Task[Entry | None], ask: Callable[[], Coroutine[None, None, _Outcome]]) -> _Outcome:
    """What is found, if that comes before the models' answer."""
    asking = asyncio.create_task(ask())
    try:
        await asyncio.wait({looking, asking}, return_when=asyncio.FIRST_COMPLETED)
        entry = looking.result() if looking.done() else None
        return await asking if entry is None else _found(entry)
    finally:
        if not asking.cancel() and not asking.cancelled():
            asking.exception()  # looked at: whoever has found an answer does not want to hear of it
        del asking  # an error's traceback holds this frame, and the task the error


def _found(entry: Entry) -> _Outcome:
    return _Outcome(entry.payload, entry.faces, None)


def _outcome(answer: ensembler_pb2.EnsemblerRecognizeResponse, seconds: float) -> _Outcome:
    kept = gateway_pb2.RecognizeResponse(
        faces=answer.faces,
        image_size=answer.image_size,
        models=answer.models,
        degraded=answer.degraded,
        fingerprint=answer.fingerprint,
    )
    timings = answer.timings
    timings.ensembler_ms = seconds * 1000
    return _Outcome(kept.SerializeToString(), count_faces(kept), timings, answer.degraded)
