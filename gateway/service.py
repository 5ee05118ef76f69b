"""The gateway as a service: what callers of Ferry talk to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc

import ferry
from ferry.transport import IMAGE_BYTES_KEY
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from gateway.ability import Ability
from gateway.admission.admission import Admission
from gateway.admission.api_keys import ApiKeys
from gateway.admission.checks import Checks
from gateway.admission.permit import Call
from gateway.cache.memory import MemoryCache
from gateway.cache.redis import RedisCache, count_error
from gateway.cache.result_cache import ResultCache
from gateway.experiments.drift import DriftWatch
from gateway.experiments.experiments import Experiments
from gateway.experiments.feedback import Feedback
from gateway.experiments.shadows import ShadowPairs
from gateway.inference_v2.models import GatewayModels
from gateway.recognize.batch import Recognize as RecognizeOne
from gateway.recognize.batch import item_error, one_by_one, recognize_batch
from gateway.recognize.recognizer import Recognizer
from gateway.recognize.stream import recognize_stream
from gateway.routing.distributions import Counts
from gateway.routing.file import RoutingFile
from gateway.routing.hints import Hints, read_hints
from gateway.routing.router import Router
from gateway.routing.shadow import Shadow
from gateway.routing.table import only_stable
from gateway.routing.variant import Variant
from gateway.routing.withdrawal import Withdrawals
from gateway.settings import GatewaySettings
from gateway.store.client import StoreClient
from serving.errors import UnimplementedError
from serving.inference_v2 import servicer as inference_v2
from serving.rpc.context import caller
from serving.rpc.identity import Identity, Proof
from serving.rpc.limits import Kind
from serving.rpc.local import LocalCalls, LocalContext
from serving.server import Service

if TYPE_CHECKING:
    from gateway.http.server import HttpServer
    from gateway.jobs.jobs import Jobs

# A string: the class is generic in its stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_BESIDE_THE_IMAGE = 64 << 10
"""Bytes of a message that are not the image: options, and the framing of a batch."""

_LOOK_SECONDS = 0.05
"""Between two looks whether a variant can answer, at what is known without asking."""


class GatewayService(Service, gateway_pb2_grpc.ExpressionRecognitionServicer):
    """Serves ferry.v1.ExpressionRecognition."""

    name = "gateway"
    grpc_services = ("ferry.v1.ExpressionRecognition", inference_v2.SERVICE)
    probes = inference_v2.PROBES
    kinds: Mapping[str, Kind] = {"/ferry.v1.ExpressionRecognition/RecognizeMany": Kind.BATCH}

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._api_keys: ApiKeys | None = None
        self._admission = Admission(settings)
        self._checks = Checks(settings)
        kept = settings.cache_enabled or settings.record_exposures
        self._store = _store(settings) if kept or settings.routing_file is not None else None
        self._experiments = _experiments(settings, self._store)
        self._kept_jobs = _jobs(settings, self._checks)
        self._cache = _cache(settings, self._store) if settings.cache_enabled else None
        self._routing = _routing(settings, self._store)
        self._drift = None
        if settings.drift_baseline is not None:
            self._drift = DriftWatch(settings.drift_baseline, settings.drift_window)
        self._following: list[asyncio.Task[None]] = []
        self._ability = Ability(settings.unready_after)
        self._closing = asyncio.Event()
        self._http: HttpServer | None = None
        table = only_stable(settings.ensembler_address) if self._routing is None else self._routing.table
        recorder = None if self._experiments is None else self._experiments.recorder
        pairs = ShadowPairs(recorder)
        shadow = Shadow(settings.shadow_concurrency, settings.max_timeout, self._admission, pairs.compared)
        self._router = Router(table, self._connect, shadow)
        self.foresee = {"/ferry.v1.ExpressionRecognition/Recognize": self._admission.foresee}
        away = self._admission.disturb
        self._recognizer = Recognizer(self._checks, self._router, self._cache, settings.patience, recorder, away=away)

    @property
    def max_request_bytes(self) -> int:
        return self._settings.max_image_bytes + _BESIDE_THE_IMAGE

    def register(self, server: grpc.aio.Server) -> None:
        gateway_pb2_grpc.add_ExpressionRecognitionServicer_to_server(self, server)
        settings = self._settings
        hints = partial(read_hints, allow_forced=settings.allow_forced_variant)
        models = GatewayModels(
            self._recognizer.recognize, hints, self._admission, settings.batch_concurrency, lambda: self.ready
        )
        inference_v2.register(server, models, self.name, lambda: self.ready)

    @property
    def http_port(self) -> int:
        """Where HTTP is listened on; 0: nowhere."""
        return 0 if self._http is None else self._http.port

    async def open(self, calls: LocalCalls) -> None:
        # Before the models of the same process are loaded: nothing is waited for where it does not fit.
        if self._settings.api_keys is not None:
            self._api_keys = ApiKeys(self._settings.api_keys)
        if self._settings.http_port:
            self._http = await _open_http(self._settings, calls, lambda: self._ability.able)

    async def close(self, grace: float | None) -> None:
        self._closing.set()
        if self._http is not None:
            await self._http.stop(grace)

    async def start(self) -> None:
        self._checks.begin()
        if self._store is not None:
            await self._store.start()
        if self._experiments is not None:
            self._experiments.start()
        await self._router.start()
        if self._routing is not None:
            follow = self._routing.follow(self._settings.routing_interval, self._router.apply)
            self._following.append(asyncio.create_task(follow))
        if self._drift is not None:
            self._following.append(asyncio.create_task(self._drift.run(self._counts)))
        if self._kept_jobs is not None:
            await self._kept_jobs.start(self._recognizer.recognize, self._admission, lambda: self._admission.busy)

    def identify(self, metadata: Mapping[str, str]) -> Identity | None:
        if self._api_keys is None:
            return None
        return Identity(Proof.API_KEY, self._api_keys.check(metadata.get("authorization")))

    def check(self, metadata: Mapping[str, str]) -> None:
        self._checks.check_announced(metadata.get(IMAGE_BYTES_KEY, ""))

    async def watch_ability(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        while True:
            if self._router.stable.disturbed:
                self._admission.disturb()
            if self._ability.look(any(variant.able for variant in self._router.variants)):
                await tell(self._ability.able)
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self) -> None:
        if self._kept_jobs is not None:
            await self._kept_jobs.stop()
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self._router.stop()
        if self._experiments is not None:
            await self._experiments.stop()
        if self._store is not None:
            await self._store.stop()
        self._checks.close()

    async def Recognize(  # noqa: N802
        self, request: gateway_pb2.RecognizeRequest, context: Context
    ) -> gateway_pb2.RecognizeResponse:
        hints = self._hints(context)
        image = request.image  # each look at a field of bytes copies it
        admit = partial(self._admission.admit, Call(1, len(image), caller()))
        if isinstance(cast(object, context), LocalContext):
            return await self._recognizer.recognize(request, hints, admit)
        # The interceptor sends bytes as they are.
        answer = await self._recognizer.recognize_bytes(image, request, hints, admit, self._admission.looked)
        return cast(gateway_pb2.RecognizeResponse, answer)

    async def RecognizeBatch(  # noqa: N802
        self, request: gateway_pb2.RecognizeBatchRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.RecognizeBatchResponse]:
        images = len(request.requests)
        self._checks.check_batch(images)
        concurrency = min(images, self._settings.batch_concurrency)
        size = sum(len(item.image) for item in request.requests)
        recognize = partial(self._recognizer.recognize, hints=self._hints(context))
        answers = recognize_batch(one_by_one(request.requests), recognize, concurrency)
        with self._admission.admit(Call(concurrency, size, caller())):
            async with aclosing(answers):
                async for answer in answers:
                    yield gateway_pb2.RecognizeBatchResponse(**answer.fields)

    async def RecognizeMany(  # noqa: N802
        self, request_iterator: AsyncIterator[gateway_pb2.RecognizeManyRequest], context: Context
    ) -> AsyncIterator[gateway_pb2.RecognizeManyResponse]:
        requests, recognize = self._checked(request_iterator), self._one_of_many(context)
        answers = recognize_batch(requests, recognize, self._settings.batch_concurrency)
        async with aclosing(answers):
            async for answer in answers:
                yield gateway_pb2.RecognizeManyResponse(**answer.fields)

    async def RecognizeStream(  # noqa: N802
        self, request_iterator: AsyncIterator[gateway_pb2.RecognizeStreamRequest], context: Context
    ) -> AsyncIterator[gateway_pb2.RecognizeStreamResponse]:
        settings = self._settings
        answers = recognize_stream(
            request_iterator,
            self._one_of_many(context),
            over=self._closing,
            # Its connection lasts so long; the last frame has to be answered before the stream's time is up.
            most_seconds=min(settings.max_stream_age / 2, settings.max_timeout),
            frame_seconds=settings.default_timeout,
        )
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    def _one_of_many(self, context: Context) -> RecognizeOne:
        """Admits and answers one image of a call with many."""
        hints = self._hints(context)

        async def recognize(request: gateway_pb2.RecognizeRequest) -> gateway_pb2.RecognizeResponse:
            admit = partial(self._admission.admit, Call(1, len(request.image), caller()))
            return await self._recognizer.recognize(request, hints, admit)

        return recognize

    async def _checked(
        self, requests: AsyncIterator[gateway_pb2.RecognizeManyRequest]
    ) -> AsyncIterator[gateway_pb2.RecognizeRequest]:
        images = announced = 0
        async for message in requests:
            announced = message.images or announced
            images += 1
            self._checks.check_batch(images)
            yield message.request
        self._checks.check_batch(images)
        self._checks.check_all_came(images, announced)

    async def GetStatus(  # noqa: N802
        self, request: gateway_pb2.GetStatusRequest, context: Context
    ) -> gateway_pb2.GetStatusResponse:
        cache = self._cache
        status = gateway_pb2.GetStatusResponse(
            ferry_version=ferry.__version__,
            variants=[
                gateway_pb2.VariantStatus(
                    name=variant.name,
                    traffic_share=variant.traffic_share,
                    entries=variant.entries,
                    fingerprint=variant.fingerprint,
                    healthy=variant.healthy,
                )
                for variant in self._router.variants
            ],
            cache=gateway_pb2.CacheStatus(
                enabled=cache is not None,
                redis_available=cache is not None and cache.redis_available,
                memory_entries=0 if cache is None else cache.entries,
                memory_bytes=0 if cache is None else cache.size,
            ),
        )
        status.uptime.FromMilliseconds(int((time.monotonic() - self._started) * 1000))
        return status

    async def SubmitFeedback(  # noqa: N802
        self, request: gateway_pb2.SubmitFeedbackRequest, context: Context
    ) -> gateway_pb2.SubmitFeedbackResponse:
        (problem,) = await self._feedback.submit([request], caller())
        if problem is not None:
            raise problem
        return gateway_pb2.SubmitFeedbackResponse()

    async def SubmitFeedbackBatch(  # noqa: N802
        self, request: gateway_pb2.SubmitFeedbackBatchRequest, context: Context
    ) -> gateway_pb2.SubmitFeedbackBatchResponse:
        problems = await self._feedback.submit(request.feedback, caller())
        refusals = [
            gateway_pb2.FeedbackRefusal(index=index, error=item_error(problem))
            for index, problem in enumerate(problems)
            if problem is not None
        ]
        accepted = len(problems) - len(refusals)
        return gateway_pb2.SubmitFeedbackBatchResponse(accepted=accepted, refusals=refusals)

    async def SubmitJob(  # noqa: N802
        self, request: gateway_pb2.SubmitJobRequest, context: Context
    ) -> gateway_pb2.SubmitJobResponse:
        jobs, hints = self._jobs, self._hints(context)
        with self._admission.admit(Call(1, request.ByteSize(), caller())) as permit:
            permit.found()
            return gateway_pb2.SubmitJobResponse(job_id=await jobs.submit(request, hints, caller()))

    async def GetJob(  # noqa: N802
        self, request: gateway_pb2.GetJobRequest, context: Context
    ) -> gateway_pb2.GetJobResponse:
        return await self._jobs.get(request.job_id, caller())

    async def CancelJob(  # noqa: N802
        self, request: gateway_pb2.CancelJobRequest, context: Context
    ) -> gateway_pb2.CancelJobResponse:
        await self._jobs.cancel(request.job_id, caller())
        return gateway_pb2.CancelJobResponse()

    @property
    def _jobs(self) -> Jobs:
        if self._kept_jobs is None:
            raise UnimplementedError("this cluster takes no jobs; FERRY_JOBS_REDIS_URL turns that on. Use Recognize")
        return self._kept_jobs

    @property
    def _feedback(self) -> Feedback:
        if self._experiments is None:
            raise UnimplementedError("this cluster keeps no answers to label; FERRY_RECORD_EXPOSURES turns that on")
        return self._experiments.feedback

    def _counts(self) -> dict[str, Counts]:
        return {variant.name: variant.predictions.distributions.counts for variant in self._router.variants}

    def _connect(self, name: str, share: float, address: str) -> Variant:
        settings = self._settings
        return Variant(
            name,
            share,
            address,
            timeout=settings.max_timeout,
            interval=settings.pipeline_interval,
            max_age=settings.pipeline_max_age,
        )

    def _hints(self, context: Context) -> Hints:
        return read_hints(context.invocation_metadata() or (), allow_forced=self._settings.allow_forced_variant)


async def _open_http(settings: GatewaySettings, calls: LocalCalls, able: Callable[[], bool]) -> HttpServer:
    # Here and not above: who does not use it does not load it.
    try:
        from gateway.http.door import open_http
    except ModuleNotFoundError as error:
        raise OSError(f"http_port: HTTP needs {error.name}; install ferry with the extra `http`") from error
    return await open_http(settings, calls, able)


def _store(settings: GatewaySettings) -> StoreClient | None:
    if settings.redis_url is None:
        return None
    return _client(settings.redis_url, settings.redis_timeout, settings, failed=count_error)


def _client(url: str, timeout: float, settings: GatewaySettings, **more: Any) -> StoreClient:
    return StoreClient(
        url,
        timeout=timeout,
        connections=settings.redis_connections,
        failures=settings.redis_failures,
        retry_interval=settings.redis_retry_interval,
        **more,
    )


def _jobs(settings: GatewaySettings, checks: Checks) -> Jobs | None:
    if settings.jobs_redis_url is None or settings.jobs_key is None:
        return None
    # Here and not above: who does not use it does not load it.
    from gateway.jobs.cipher import Cipher
    from gateway.jobs.jobs import Jobs

    store = _client(settings.jobs_redis_url, settings.jobs_redis_timeout, settings)
    return Jobs(store, settings, checks, Cipher(settings.jobs_key))


def _experiments(settings: GatewaySettings, store: StoreClient | None) -> Experiments | None:
    if store is None or not settings.record_exposures:
        return None
    return Experiments(settings, store)


def _routing(settings: GatewaySettings, store: StoreClient | None) -> RoutingFile | None:
    if settings.routing_file is None:
        return None
    return RoutingFile(settings.routing_file, None if store is None else Withdrawals(store))


def _cache(settings: GatewaySettings, store: StoreClient | None) -> ResultCache:
    redis = None if store is None else RedisCache(store)
    return ResultCache(MemoryCache(settings.cache_bytes, settings.cache_entries), redis, settings.cache_ttl)
