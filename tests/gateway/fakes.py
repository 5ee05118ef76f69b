"""A fake ensembler of a few lines, a gateway before it, and small pictures."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from PIL import Image
from prometheus_client import REGISTRY

from ferry.v1 import ensembler_pb2, ensembler_pb2_grpc, gateway_pb2, gateway_pb2_grpc, types_pb2
from gateway.service import GatewayService
from gateway.settings import GatewaySettings
from serving.errors import ServiceError
from serving.server import Server

MODEL = types_pb2.ModelVersion(name="efficientnet", version="1", digest="d" * 64)
Respond = Callable[["FakeEnsembler", ensembler_pb2.EnsemblerRecognizeRequest, Any], Awaitable[None]]


def jpeg(shade: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """A grey picture; each shade (0 to 255) is another image."""
    return _encoded("JPEG", shade, size)


def png(shade: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """The same, in a format whose header Pillow reads."""
    return _encoded("PNG", shade, size)


def _encoded(kind: str, shade: int, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, shade).save(out, kind)
    return out.getvalue()


class FakeEnsembler(ensembler_pb2_grpc.EnsemblerServicer):
    """Finds one happy face in every image, once `gate` is open.

    Attributes:
        behave: what else to do before answering, such as abort.
        requests: all that came.
        remaining: the deadline of each, seconds from its arrival.
        misses: how many looks at the pipeline fail next.
        garbage: whether looks are answered with bytes that are no message.
        cancelled: how many were cancelled while they waited.
        looks: how often it was asked for its pipeline.
        waiting: whether it says that its calls wait for a model.
        answered: the fingerprint in answers, where it is another one than is known when they are asked for.
        box, expression: of each face.
    """

    def __init__(self) -> None:
        self.fingerprint = "a" * 64
        self.faces = 1
        self.degraded = False
        self.available = True
        self.waiting = False
        self.pipeline_known = True
        self.misses = 0
        self.garbage = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.behave: Respond | None = None
        self.requests: list[ensembler_pb2.EnsemblerRecognizeRequest] = []
        self.remaining: list[float] = []
        self.request_ids: list[str] = []
        self.lost: list[str] = []
        self.cancelled = 0
        self.looks = 0
        self.answered = ""
        self.box = types_pb2.BoundingBox()
        self.expression = types_pb2.EXPRESSION_HAPPY

    async def Recognize(self, request, context):  # noqa: N802
        self.requests.append(request)
        self.remaining.append(context.time_remaining())
        metadata = dict(context.invocation_metadata())
        self.request_ids.append(metadata.get("x-request-id", ""))
        self.lost.append(metadata.get("x-ferry-lost", ""))
        fingerprint = self.fingerprint
        try:
            await self.gate.wait()
            if self.behave is not None:
                await self.behave(self, request, context)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ensembler_pb2.EnsemblerRecognizeResponse(
            faces=[types_pb2.Face(expression=self.expression, confidence=0.5, degraded=self.degraded, box=self.box)]
            * self.faces,
            image_size=types_pb2.ImageSize(width=64, height=48),
            models=[MODEL],
            timings=types_pb2.Timings(detector_ms=3),
            degraded=self.degraded,
            fingerprint=self.answered or fingerprint,
        )

    async def GetPipeline(self, request, context):  # noqa: N802
        self.looks += 1
        if not self.pipeline_known or self.misses:
            self.misses = max(0, self.misses - 1)
            await context.abort(grpc.StatusCode.INTERNAL, "no recipe")
        entry = ensembler_pb2.RecipeEntry(model=MODEL, weight=1, available=self.available)
        return ensembler_pb2.GetPipelineResponse(
            entries=[entry], fingerprint=self.fingerprint, required_model_unavailable=self.waiting
        )


async def leaves_out_who_is_late(
    fake: FakeEnsembler, request: ensembler_pb2.EnsemblerRecognizeRequest, context: Any
) -> None:
    """What an ensembler does that has less than two seconds: answers at their end, without a model."""
    remaining = context.time_remaining()
    fake.degraded = remaining < 2
    await asyncio.sleep(0.9 * remaining if fake.degraded else 0)


async def turns_of_others(work: Awaitable[object]) -> int:
    """How often another task has its turn of the event loop until `work` is done."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    await work
    counting.cancel()
    return turns


async def refuse(context: Any, error: ServiceError) -> None:
    """Ends the call as services of Ferry do: with details, by which a caller knows that somebody answered."""
    details = ("grpc-status-details-bin", error.to_status().SerializeToString())
    await context.abort(error.code, error.message, (details,))


@asynccontextmanager
async def running_ensembler(
    fake: FakeEnsembler, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    """Yields the address; `credentials`: for TLS, of which the address then names the host."""
    limits = [("grpc.http2.min_recv_ping_interval_without_data_ms", 250), ("grpc.max_receive_message_length", 64 << 20)]
    server = grpc.aio.server(options=limits)
    ensembler_pb2_grpc.add_EnsemblerServicer_to_server(fake, server)
    look = grpc.unary_unary_rpc_method_handler(
        fake.GetPipeline,
        request_deserializer=ensembler_pb2.GetPipelineRequest.FromString,
        response_serializer=lambda answer: b"\xff\xff\xff" if fake.garbage else answer.SerializeToString(),
    )
    server.add_registered_method_handlers("ferry.v1.Ensembler", {"GetPipeline": look})
    where = "127.0.0.1:0"
    port = server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}" if credentials is None else f"localhost:{port}"
    finally:
        await server.stop(None)


@dataclass
class Gateway:
    """A running gateway and a stub to call it by."""

    stub: gateway_pb2_grpc.ExpressionRecognitionStub
    service: GatewayService
    port: int
    server: Server

    async def recognize(self, image: bytes, timeout: float = 20, metadata: Any = None, **fields: Any) -> Any:
        request = gateway_pb2.RecognizeRequest(image=image, **fields)
        return await self.stub.Recognize(request, timeout=timeout, metadata=metadata)


@asynccontextmanager
async def running_gateway(ensembler: str, **settings: Any) -> AsyncIterator[Gateway]:
    chosen = GatewaySettings(ensembler_address=ensembler, **{"port": 0, "grace": 5.0, **settings})
    server = Server(GatewayService(chosen), chosen)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", 64 << 20)]
        ) as channel:
            stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
            yield Gateway(stub, server.service, server.port, server)
    finally:
        await server.stop()


@dataclass
class Counted:
    """How far a metric has risen since the object was made."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = self._value()

    def _value(self) -> float:
        return REGISTRY.get_sample_value(self.name, self.labels) or 0.0

    def __call__(self) -> float:
        return self._value() - self._before


async def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Returns as soon as `condition` holds; fails when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.005)


def detail(error: grpc.aio.AioRpcError, kind: type[Message]) -> Any:
    """The detail of type `kind` in an error's google.rpc.Status."""
    raw = next(value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    for packed in status_pb2.Status.FromString(raw).details:
        found = kind()
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.__name__} in {error}")
