"""Many images in one call: worked on side by side, answered as each is ready, failing each for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace

from google.rpc import error_details_pb2

from ferry.v1 import gateway_pb2
from serving.errors import ServiceError
from serving.rpc.context import current

log = logging.getLogger(__name__)

Recognize = Callable[[gateway_pb2.RecognizeRequest], Awaitable[gateway_pb2.RecognizeResponse]]
_MAX_ID_LENGTH = 60


async def recognize_batch(
    requests: Sequence[gateway_pb2.RecognizeRequest], recognize: Recognize, concurrency: int
) -> AsyncGenerator[gateway_pb2.RecognizeBatchResponse, None]:
    """Answers in the order in which they are ready. When the iterator is closed, what is not yet answered is cancelled.

    Args:
        requests: the images.
        recognize: answers one of them.
        concurrency: images worked on at once; a caller who reads slowly is not worked for faster than that.
    """
    waiting = iter(range(len(requests)))
    running: set[asyncio.Task[gateway_pb2.RecognizeBatchResponse]] = set()
    try:
        while True:
            while len(running) < concurrency and (index := next(waiting, None)) is not None:
                running.add(asyncio.create_task(_one(index, requests[index], recognize)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()


async def _one(
    index: int, request: gateway_pb2.RecognizeRequest, recognize: Recognize
) -> gateway_pb2.RecognizeBatchResponse:
    context, name = current.get(), str(index)
    if context is not None:
        # An answer has a name of its own, for feedback; the task's context dies with it.
        name = f"{context.request_id[:_MAX_ID_LENGTH]}.{index}"
        current.set(replace(context, request_id=name, losses=replace(context.losses)))
    try:
        return gateway_pb2.RecognizeBatchResponse(index=index, response=await recognize(request))
    except ServiceError as error:
        item = _item_error(error)
    except Exception:
        log.exception("unexpected error in image %d of a batch", index)
        item = _item_error(ServiceError(f"internal error; look for request id {name} in the logs"))
    return gateway_pb2.RecognizeBatchResponse(index=index, error=item)


def _item_error(error: ServiceError) -> gateway_pb2.ItemError:
    violations = error_details_pb2.BadRequest()
    field = ""
    for detail in error.to_status().details:
        if detail.Unpack(violations) and violations.field_violations:
            field = violations.field_violations[0].field
    return gateway_pb2.ItemError(code=int(error.code.value[0]), message=error.message, field=field)
