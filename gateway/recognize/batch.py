"""Many images in one call: worked on side by side, answered as each is ready, failing each for itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypedDict

from ferry.v1 import gateway_pb2
from serving.errors import DeadlineError, ServiceError, violation
from serving.rpc.call_log import calls
from serving.rpc.context import current, deadline_after

log = logging.getLogger(__name__)

Recognize = Callable[[gateway_pb2.RecognizeRequest], Awaitable[gateway_pb2.RecognizeResponse]]
_MAX_ID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one image.

    Attributes:
        index: its position in the call.
        result: the answer, or why there is none.
    """

    index: int
    result: gateway_pb2.RecognizeResponse | gateway_pb2.ItemError

    @property
    def fields(self) -> Fields:
        """As the messages of the contract name them."""
        return {"index": self.index, **self.result_field}

    @property
    def result_field(self) -> ResultField:
        """`result` alone."""
        if isinstance(self.result, gateway_pb2.ItemError):
            return {"error": self.result}
        return {"response": self.result}


class ResultField(TypedDict, total=False):
    """Of RecognizeStreamResponse and those below: one of the two."""

    response: gateway_pb2.RecognizeResponse
    error: gateway_pb2.ItemError


class Fields(ResultField, total=False):
    """Of RecognizeBatchResponse and RecognizeManyResponse."""

    index: int


async def recognize_batch(
    requests: AsyncIterator[gateway_pb2.RecognizeRequest], recognize: Recognize, concurrency: int
) -> AsyncGenerator[Answer, None]:
    """Answers in the order in which they are ready. When the iterator is closed, what is not yet answered is cancelled.

    Args:
        requests: the images; the next one is taken when there is room for it.
        recognize: answers one of them.
        concurrency: images worked on at once; a caller who reads slowly is not worked for faster than that.

    Raises:
        ServiceError: whatever `requests` raises, when the images before it are answered.
    """
    index = 0
    failure: ServiceError | None = None
    taking: asyncio.Task[gateway_pb2.RecognizeRequest | None] | None = None
    more = True
    running: set[asyncio.Task[Answer]] = set()
    try:
        while True:
            if more and taking is None and len(running) < concurrency:
                taking = asyncio.create_task(_next(requests))
            if taking is None and not running:
                break
            await asyncio.wait({*running, *([taking] if taking else ())}, return_when=asyncio.FIRST_COMPLETED)
            if taking is not None and taking.done():
                request = None
                try:
                    request = taking.result()
                except ServiceError as error:
                    failure = error
                taking = None
                if request is None:
                    more = False
                else:
                    running.add(asyncio.create_task(recognize_one(index, request, recognize)))
                    index += 1
                del request
            for task in [task for task in running if task.done()]:
                running.discard(task)
                yield task.result()
        if failure is not None:
            raise failure
    finally:
        failure = None  # its traceback holds this frame
        left = (*running, *([taking] if taking else ()))
        for task in left:
            task.cancel()
        # The room of the call is given back when this returns, and errors are to be looked at by somebody.
        await asyncio.gather(*left, return_exceptions=True)


async def _next(requests: AsyncIterator[gateway_pb2.RecognizeRequest]) -> gateway_pb2.RecognizeRequest | None:
    return await anext(requests, None)


async def recognize_one(
    index: int, request: gateway_pb2.RecognizeRequest, recognize: Recognize, seconds: float | None = None
) -> Answer:
    """What became of one image; an error is an answer as well. In a task of its own.

    Args:
        index: its position in the call.
        request: the image.
        recognize: answers it.
        seconds: that it may take; None: as long as its call.
    """
    name, began = item_context(index, seconds), time.monotonic()
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return Answer(index, await recognize(request))
    except ServiceError as error:
        item = _ended(error, began)
    except Exception as error:
        if isinstance(error, TimeoutError) and timer.expired():
            item = _ended(DeadlineError(f"no answer within {seconds:g} s"), began)
        else:
            log.exception("unexpected error in image %d of a batch", index)
            item = item_error(ServiceError(f"internal error; look for request id {name} in the logs"))
    finally:
        del timer  # the traceback of a cancellation holds this frame, the timer the task, and that the cancellation
    return Answer(index, item)


def _ended(error: ServiceError, began: float) -> gateway_pb2.ItemError:
    item = item_error(error)
    # The call goes on, and its end says nothing of this one.
    calls.ended("an image of many", error.code, time.monotonic() - began, item.field)
    return item


def item_context(index: int, seconds: float | None = None) -> str:
    """Gives the image that the current task works on, and that alone, an id of its own, for feedback, and losses of its
    own. Returns the id.

    Args:
        index: its position in the call.
        seconds: from now to its own deadline; None: that of the call.
    """
    context = current.get()
    if context is None:
        return str(index)
    suffix = f".{index}"
    name = context.request_id[: _MAX_ID_LENGTH - len(suffix)] + suffix
    deadline = context.deadline if seconds is None else deadline_after(seconds)
    # The task's context dies with it.
    current.set(replace(context, request_id=name, deadline=deadline, losses=replace(context.losses)))
    return name


def item_error(error: ServiceError) -> gateway_pb2.ItemError:
    """As the contract puts what became of one item of many."""
    field, _ = violation(error)
    return gateway_pb2.ItemError(code=int(error.code.value[0]), message=error.message, field=field)


async def one_by_one(
    requests: Iterable[gateway_pb2.RecognizeRequest],
) -> AsyncIterator[gateway_pb2.RecognizeRequest]:
    """The requests of a call that has brought them all, as `recognize_batch` takes them."""
    for request in requests:
        yield request
