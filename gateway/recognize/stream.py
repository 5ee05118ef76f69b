"""Frames of a video in one call: one is worked on, the newest of those that came meanwhile waits, older ones go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from ferry.v1 import gateway_pb2
from gateway.newest import Newest
from gateway.recognize.batch import Recognize, item_error, recognize_one
from serving.errors import DeadlineError, InvalidArgumentError
from serving.telemetry import metrics
from serving.units import sizes_text

MAX_FRAME_BYTES = 2 << 20
"""Of the image of one frame. A stream holds a frame that waits besides the one that is worked on, whose bytes count as
those of any image, and the message that is received."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Of a caller: its number for it, and what it asks, or why that is not looked at."""

    frame_id: int
    request: gateway_pb2.RecognizeRequest
    refusal: gateway_pb2.ItemError | None = None


async def recognize_stream(
    requests: AsyncIterator[gateway_pb2.RecognizeStreamRequest],
    recognize: Recognize,
    *,
    over: asyncio.Event,
    most_seconds: float,
    frame_seconds: float,
) -> AsyncGenerator[gateway_pb2.RecognizeStreamResponse, None]:
    """Answers in the order of the frames. When the iterator is closed, the frame that is worked on is cancelled.

    It ends when the caller has ended its side and the last frame is answered, when nothing has come for as long as a
    message may take, after `most_seconds`, and when the gateway stops: whoever has more frames opens another one.

    Args:
        requests: the frames, taken in as fast as they come.
        recognize: answers one of them.
        over: set when the gateway stops.
        most_seconds: after which no more frames are taken in.
        frame_seconds: for the answer to one.

    Raises:
        ServiceError: whatever `requests` raises, when the frames before it are answered; frame_id does not rise.
    """
    frames: Newest[_Frame] = Newest()
    receiving = asyncio.create_task(_receive(requests, frames))
    ending = asyncio.create_task(_end(frames, over, most_seconds))
    try:
        while (taken := await frames.take()) is not None:
            frame = taken.item
            response = gateway_pb2.RecognizeStreamResponse(frame_id=frame.frame_id, dropped_frames=taken.dropped)
            if frame.refusal is not None:
                response.error.CopyFrom(frame.refusal)
            else:
                # A task of its own, in whose context it has a name and a deadline of its own.
                one = recognize_one(taken.number, frame.request, recognize, frame_seconds)
                response.MergeFrom(gateway_pb2.RecognizeStreamResponse(**(await asyncio.create_task(one)).result_field))
            del taken, frame
            yield response
        if receiving.done():
            receiving.result()
    finally:
        for task in (receiving, ending):
            task.cancel()
        await asyncio.gather(receiving, ending, return_exceptions=True)
        del receiving, ending, task  # an error's traceback holds this frame, and the task the error


async def _receive(requests: AsyncIterator[gateway_pb2.RecognizeStreamRequest], frames: Newest[_Frame]) -> None:
    last = -1
    try:
        async for message in requests:
            if message.frame_id <= last:
                raise InvalidArgumentError("frame_id", f"must rise, and {message.frame_id} follows {last}")
            last = message.frame_id
            frames.put(_frame(last, message.request))
    except DeadlineError:
        pass  # nothing has come for long: its caller may come back
    finally:
        frames.end()


def _frame(frame_id: int, request: gateway_pb2.RecognizeRequest) -> _Frame:
    size = len(request.image)
    if size <= MAX_FRAME_BYTES:
        return _Frame(frame_id, request)
    is_, limit = sizes_text(size, MAX_FRAME_BYTES)
    metrics.REJECTED.labels("image_bytes").inc()
    said = f"is {is_}, more than the {limit} of a frame; send a smaller or more compressed copy"
    return _Frame(frame_id, gateway_pb2.RecognizeRequest(), item_error(InvalidArgumentError("image", said)))


async def _end(frames: Newest[_Frame], over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass
    frames.end()
