"""A gateway of a few lines, served in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from ferry.transport import LOST_KEY, MAX_MESSAGE_BYTES
from ferry.v1 import ensembler_pb2, gateway_pb2, gateway_pb2_grpc, types_pb2
from serving.errors import InvalidArgumentError, NotFoundError, ServiceError


def answer(request: gateway_pb2.RecognizeRequest) -> gateway_pb2.RecognizeResponse:
    """One happy face whose box says how many bytes the image had."""
    model = types_pb2.ModelVersion(name="arcface", version="1", digest="ab" * 32)
    probabilities = [
        types_pb2.ExpressionProbability(expression=e, probability=0.7 if e == types_pb2.EXPRESSION_HAPPY else 0.05)
        for e in range(1, 8)
    ]
    opinion = types_pb2.ModelPrediction(
        model=model, expression=4, confidence=0.7, probabilities=probabilities, weight=1.0
    )
    face = types_pb2.Face(
        box=types_pb2.BoundingBox(x_min=1, y_min=2, x_max=len(request.image) + 1, y_max=12),
        detection_score=0.5,
        expression=4,
        confidence=0.75,
        probabilities=probabilities,
        predictions=[opinion],
        degraded=True,
        missing_models=["efficientnet"],
    )
    return gateway_pb2.RecognizeResponse(
        faces=[face],
        image_size=types_pb2.ImageSize(width=640, height=480),
        models=[model],
        timings=types_pb2.Timings(total_ms=12.5),
        cached=True,
        degraded=True,
        variant="stable",
        fingerprint="cd" * 32,
        request_id="ef" * 16,
    )


SAID_OF_A_LOSS = {"lost": "Socket closed", "silent": "ping timeout"}
"""By `error`: what gRPC makes of a connection that ends, and of one over which nothing comes."""


@dataclass
class FakeGateway(gateway_pb2_grpc.ExpressionRecognitionServicer):
    """Answers with `answer`, fails with `error` while there are failures left, and remembers what it was asked."""

    error: ServiceError | None = None
    failures: int = 1_000_000
    break_batch_after: int | None = None
    hide_end: bool = False
    """Whether a batch ends, after its last answer, by what gRPC for asyncio puts in the place of any end."""
    reverse: bool = False
    frames_a_call: int | None = None
    max_bytes: int = 1 << 30
    item_error: Callable[[gateway_pb2.RecognizeRequest], gateway_pb2.ItemError | None] = lambda request: None
    requests: list[Message] = field(default_factory=list)
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    lost: list[str | bytes | None] = field(default_factory=list)
    """What each call said of replicas that were lost with it."""
    cancelled: set[str] = field(default_factory=set)
    """Jobs that had not ended when they were stopped: those whose ids begin with c."""
    announced: int = 0
    remaining: float = 0.0

    def Recognize(self, request: Any, context: grpc.ServicerContext) -> gateway_pb2.RecognizeResponse:  # noqa: N802
        self._receive(request, context)
        self._check_size(request, context)
        return answer(request)

    def SubmitFeedbackBatch(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> gateway_pb2.SubmitFeedbackBatchResponse:
        self._receive(request, context)
        last = len(request.feedback) - 1
        error = gateway_pb2.ItemError(code=5, message="no such answer")
        refusal = gateway_pb2.FeedbackRefusal(index=last, error=error)
        return gateway_pb2.SubmitFeedbackBatchResponse(accepted=last, refusals=[refusal])

    def RecognizeMany(  # noqa: N802
        self, request_iterator: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.RecognizeManyResponse]:
        received = []
        for message in request_iterator:
            self.announced = message.images
            received.append(message.request)
            self._check_size(message, context)
        self._receive(gateway_pb2.RecognizeBatchRequest(requests=received), context)
        items = list(enumerate(received))
        for sent, (index, item) in enumerate(reversed(items) if self.reverse else items):
            if sent == self.break_batch_after:
                self.break_batch_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            error = self.item_error(item)
            if error is not None:
                yield gateway_pb2.RecognizeManyResponse(index=index, error=error)
            else:
                yield gateway_pb2.RecognizeManyResponse(index=index, response=answer(item))
        if self.hide_end:
            context.abort(grpc.StatusCode.INTERNAL, "Internal error from Core")

    def RecognizeStream(  # noqa: N802
        self, request_iterator: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.RecognizeStreamResponse]:
        self._receive(gateway_pb2.RecognizeStreamRequest(), context)
        for count, message in enumerate(request_iterator, 1):
            self.requests.append(message)
            error = self.item_error(message.request)
            if error is not None:
                yield gateway_pb2.RecognizeStreamResponse(frame_id=message.frame_id, error=error)
            else:
                yield gateway_pb2.RecognizeStreamResponse(frame_id=message.frame_id, response=answer(message.request))
            if count == self.break_batch_after:
                self.break_batch_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if count == self.frames_a_call:
                return

    def SubmitJob(self, request: Any, context: grpc.ServicerContext) -> gateway_pb2.SubmitJobResponse:  # noqa: N802
        self._receive(request, context)
        if error := self.item_error(request.request):
            _refuse(context, InvalidArgumentError("image", error.message))
        return gateway_pb2.SubmitJobResponse(job_id="ab" * 16)

    def GetJob(self, request: Any, context: grpc.ServicerContext) -> gateway_pb2.GetJobResponse:  # noqa: N802
        self._receive(request, context)
        if request.job_id.startswith("0"):
            _refuse(context, NotFoundError("there is no such job"))
        if request.job_id in self.cancelled:
            return gateway_pb2.GetJobResponse(state=5)
        done = gateway_pb2.GetJobResponse(state=3, response=answer(gateway_pb2.RecognizeRequest(image=b"12345678")))
        failed = gateway_pb2.GetJobResponse(state=4, error=gateway_pb2.ItemError(code=3, message="image: broken"))
        job = failed if request.job_id.startswith("f") else done
        job.expire_time.FromSeconds(1_800_000_000)
        return job

    def CancelJob(self, request: Any, context: grpc.ServicerContext) -> gateway_pb2.CancelJobResponse:  # noqa: N802
        self._receive(request, context)
        if request.job_id.startswith("0"):
            _refuse(context, NotFoundError("there is no such job"))
        if request.job_id.startswith("c"):
            self.cancelled.add(request.job_id)
        return gateway_pb2.CancelJobResponse()

    def GetStatus(self, request: Any, context: grpc.ServicerContext) -> gateway_pb2.GetStatusResponse:  # noqa: N802
        self._receive(request, context)
        entry = ensembler_pb2.RecipeEntry(
            model=types_pb2.ModelVersion(name="arcface", version="1"),
            weight=0.5,
            available=True,
            load_failure=types_pb2.LoadFailure(version="2", attempts=3),
        )
        variant = gateway_pb2.VariantStatus(name="stable", traffic_share=1.0, entries=[entry], healthy=True)
        response = gateway_pb2.GetStatusResponse(ferry_version="0.1.0", variants=[variant])
        response.uptime.FromMilliseconds(1500)
        response.cache.enabled = True
        return response

    def _check_size(self, message: Message, context: grpc.ServicerContext) -> None:
        if (size := message.ByteSize()) > self.max_bytes:
            said = f"SERVER: Received message larger than max ({size} vs. {self.max_bytes})"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)

    def _receive(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.lost.append(self.metadata.get(LOST_KEY))
        self.remaining = context.time_remaining()
        if self.error is not None and self.failures > 0:
            self.failures -= 1
            if self.error.message in SAID_OF_A_LOSS:
                context.abort(grpc.StatusCode.UNAVAILABLE, SAID_OF_A_LOSS[self.error.message])
            if self.error.message == "turned away":  # and of a call that comes while a gateway ends, or among too many
                context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
            _refuse(context, self.error)


def _refuse(context: grpc.ServicerContext, error: ServiceError) -> None:
    """Ends the call with it."""
    context.set_trailing_metadata((("grpc-status-details-bin", error.to_status().SerializeToString()),))
    context.abort(error.code, error.message)


@pytest.fixture
def gateway() -> FakeGateway:
    """What the server below answers with."""
    return FakeGateway()


@contextmanager
def serving(gateway: FakeGateway, port: int = 0) -> Iterator[str]:
    """A server for it; gives its address."""
    size = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    server = grpc.server(ThreadPoolExecutor(4), options=size)
    gateway_pb2_grpc.add_ExpressionRecognitionServicer_to_server(gateway, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def address(gateway: FakeGateway) -> Iterator[str]:
    """Where the fake gateway listens."""
    with serving(gateway) as where:
        yield where
