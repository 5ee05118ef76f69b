"""A service that does whatever a test says, over real sockets or as a process of its own.

`python -m tests.serving.fakes DIRECTORY --port ...` holds each call until DIRECTORY/go exists, and its own start until
DIRECTORY/hold is gone. While DIRECTORY/hang exists, a call stops the event loop, and with it all others.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from ferry.v1 import classifier_pb2, classifier_pb2_grpc, gateway_pb2, gateway_pb2_grpc
from serving.server import Server, Service, run
from serving.settings import ServiceSettings, load

Answer = Callable[[classifier_pb2.ClassifyRequest, Any], Awaitable[classifier_pb2.ClassifyResponse]]


async def at_once(request: classifier_pb2.ClassifyRequest, context: Any) -> classifier_pb2.ClassifyResponse:
    """Answers at once."""
    return classifier_pb2.ClassifyResponse(queue_ms=1)


class Endless:
    """Answers never.

    Attributes:
        begun, ended: set when a call has begun, and when its work has been ended.
    """

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: Any, context: Any) -> Any:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


class FakeService(Service, classifier_pb2_grpc.ClassifierServicer, gateway_pb2_grpc.ExpressionRecognitionServicer):
    """Classify does what `answer` does, RecognizeBatch streams one answer per request through `each`; the rest of
    both contracts is left as generated."""

    name = "fake"
    grpc_services = ("ferry.v1.Classifier", "ferry.v1.ExpressionRecognition")

    def __init__(self, answer: Answer = at_once) -> None:
        self.answer = answer
        self.each: Callable[[int], Awaitable[None]] | None = None
        self.starting: Callable[[], Awaitable[None]] | None = None
        self.stopped = False

    def register(self, server: grpc.aio.Server) -> None:
        classifier_pb2_grpc.add_ClassifierServicer_to_server(self, server)
        gateway_pb2_grpc.add_ExpressionRecognitionServicer_to_server(self, server)

    async def start(self) -> None:
        if self.starting is not None:
            await self.starting()

    async def stop(self) -> None:
        self.stopped = True

    async def Classify(self, request: classifier_pb2.ClassifyRequest, context: Any) -> Any:  # noqa: N802
        return await self.answer(request, context)

    async def RecognizeBatch(  # noqa: N802
        self, request: gateway_pb2.RecognizeBatchRequest, context: Any
    ) -> AsyncIterator[Any]:
        for index in range(len(request.requests)):
            if self.each is not None:
                await self.each(index)
            yield gateway_pb2.RecognizeBatchResponse(index=index)


@asynccontextmanager
async def running(service: Service, **settings: Any) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    """The service on a free port, and a channel to it without retries."""
    server = Server(service, ServiceSettings(**({"grace": 5} | settings)))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", options=[("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            yield server, channel
    finally:
        await server.stop()


def main(directory: Path) -> None:
    async def wait_for_go(request: Any, context: Any) -> classifier_pb2.ClassifyResponse:
        (directory / "entered").touch()
        while (directory / "hang").exists():
            time.sleep(0.01)
        while not (directory / "go").exists():
            await asyncio.sleep(0.01)
        return classifier_pb2.ClassifyResponse(queue_ms=1)

    async def hold() -> None:
        while (directory / "hold").exists():
            await asyncio.sleep(0.01)

    service = FakeService(wait_for_go)
    service.starting = hold
    run(service, load(ServiceSettings, sys.argv[2:]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
