"""Models that answer as a test tells them to, behind real gRPC servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from ferry.v1 import classifier_pb2, classifier_pb2_grpc, detector_pb2, detector_pb2_grpc, types_pb2
from services.ensembler.recipe import ClassifierEntry, ModelEntry, Recipe
from serving.rpc.interceptor import CallInterceptor
from serving.rpc.limits import Kind, Limits
from serving.tensors import from_tensor, to_tensor

HAPPY = (0.02, 0.02, 0.02, 0.88, 0.02, 0.02, 0.02)
SAD = (0.02, 0.02, 0.02, 0.02, 0.02, 0.88, 0.02)


class Fake:
    """What the fakes have in common: they note whom they hear from, and answer once `gate` is open."""

    digest: str
    version: str
    error: Exception | None
    gate: asyncio.Event
    asked: asyncio.Event
    cancelled: asyncio.Event
    remaining: list[float]
    metadata: list[dict[str, str | bytes]]

    async def receive(self, context: Any) -> None:
        self.remaining.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))
        self.asked.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error


def _open() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class FakeDetector(Fake, detector_pb2_grpc.DetectorServicer):
    """Finds `faces` faces in anything.

    `opinions` and `scores`, where they are not empty, hold one entry for each face; `crops` replaces the crops.
    """

    faces: int = 1
    probabilities: tuple[float, ...] = HAPPY
    opinions: list[tuple[float, ...]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    crops: types_pb2.Tensor | None = None
    load_failure: types_pb2.LoadFailure | None = None
    digest: str = "d" * 64
    version: str = "1"
    error: Exception | None = None
    gate: asyncio.Event = field(default_factory=_open)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    remaining: list[float] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    requests: list[detector_pb2.DetectRequest] = field(default_factory=list)

    async def Detect(  # noqa: N802
        self, request: detector_pb2.DetectRequest, context: object
    ) -> detector_pb2.DetectResponse:
        digest, version = self.digest, self.version
        self.requests.append(request)
        await self.receive(context)
        size = request.crop_size
        return detector_pb2.DetectResponse(
            detections=[
                detector_pb2.Detection(
                    box=types_pb2.BoundingBox(x_min=i, y_min=0, x_max=i + 10, y_max=10),
                    score=self.scores[i] if self.scores else 0.9 - i / 100,
                    probabilities=self.opinions[i] if self.opinions else self.probabilities,
                )
                for i in range(self.faces)
            ],
            crops=self.crops or (to_tensor(cut(self.faces, size)) if size else None),
            image_size=types_pb2.ImageSize(width=640, height=480),
            model=types_pb2.ModelVersion(name="detector", version=version, digest=digest),
            load_failure=self.load_failure,
            decode_ms=1,
            queue_ms=2,
            compute_ms=3,
        )


def cut(faces: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The fake detector's crops: uint8 [faces, size, size, 3], no two faces alike."""
    return (np.arange(faces * size * size * 3) % 251).astype(np.uint8).reshape(faces, size, size, 3)


@dataclass
class FakeClassifier(Fake, classifier_pb2_grpc.ClassifierServicer):
    """Says `row` of every crop, or one of `rows` of each, once `gate` is open; `answer` takes the place of both. To the
    next `lost` calls it says what gRPC does when a replica is lost with them."""

    name: str
    row: tuple[float, ...] = HAPPY
    rows: list[tuple[float, ...]] = field(default_factory=list)
    answer: types_pb2.Tensor | None = None
    queue_ms: float = 4
    compute_ms: float = 5
    digest: str = "c" * 64
    version: str = "1"
    error: Exception | None = None
    gate: asyncio.Event = field(default_factory=_open)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    remaining: list[float] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    requests: list[classifier_pb2.ClassifyRequest] = field(default_factory=list)
    lost: int = 0

    async def Classify(  # noqa: N802
        self, request: classifier_pb2.ClassifyRequest, context: Any
    ) -> classifier_pb2.ClassifyResponse:
        digest, version = self.digest, self.version
        self.requests.append(request)
        await self.receive(context)
        if self.lost:
            self.lost -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        crops = from_tensor(request.crops, "crops")
        rows = np.array(self.rows or [self.row] * len(crops), np.float32)
        return classifier_pb2.ClassifyResponse(
            probabilities=to_tensor(rows) if self.answer is None else self.answer,
            model=types_pb2.ModelVersion(name=self.name, version=version, digest=digest),
            queue_ms=self.queue_ms,
            compute_ms=self.compute_ms,
        )


@dataclass
class Models:
    """A detector, two classifiers, and the recipe that names them."""

    detector: FakeDetector
    first: FakeClassifier
    second: FakeClassifier
    recipe: Recipe

    @property
    def all(self) -> tuple[FakeDetector | FakeClassifier, ...]:
        return self.detector, self.first, self.second

    def forget(self) -> None:
        """What was asked so far, such as by the look at the start."""
        for fake in self.all:
            for seen in (fake.requests, fake.remaining, fake.metadata):
                seen.clear()
            fake.asked.clear()


def _ready_interceptor() -> CallInterceptor:
    services = ("ferry.v1.Classifier", "ferry.v1.Detector")
    interceptor = CallInterceptor(services, dict.fromkeys(Kind, Limits(30, 60)))
    interceptor.ready = True
    return interceptor


@asynccontextmanager
async def serving(fake: FakeClassifier, port: int = 0) -> AsyncIterator[int]:
    """A server for one more classifier; yields its port."""
    server = grpc.aio.server(interceptors=(_ready_interceptor(),))
    classifier_pb2_grpc.add_ClassifierServicer_to_server(fake, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


@asynccontextmanager
async def running_models() -> AsyncIterator[Models]:
    """Three servers on free ports."""
    detector, first, second = FakeDetector(), FakeClassifier("first"), FakeClassifier("second")
    async with AsyncExitStack() as stack:
        ports = []
        for register in (
            lambda server: detector_pb2_grpc.add_DetectorServicer_to_server(detector, server),
            lambda server: classifier_pb2_grpc.add_ClassifierServicer_to_server(first, server),
            lambda server: classifier_pb2_grpc.add_ClassifierServicer_to_server(second, server),
        ):
            server = grpc.aio.server(interceptors=(_ready_interceptor(),))
            register(server)
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            stack.push_async_callback(server.stop, None)
        recipe = Recipe(
            detector=ModelEntry(name="detector", address=f"127.0.0.1:{ports[0]}"),
            classifiers=(
                ClassifierEntry(name="first", address=f"127.0.0.1:{ports[1]}", weight=0.4),
                ClassifierEntry(name="second", address=f"127.0.0.1:{ports[2]}", weight=0.4),
            ),
        )
        try:
            yield Models(detector, first, second, recipe)
        finally:
            for fake in (detector, first, second):
                fake.gate.set()
