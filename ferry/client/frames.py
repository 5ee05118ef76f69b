"""Frames on their way from a source that waits for nobody, such as a camera, to the calls that carry them: the newest
one wins. A call takes frames for half of its time; the rest is for the last answer, and the next call goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Final, TypeAlias

from ferry.client import calls, convert, errors
from ferry.client.calls import BatchItem, Call
from ferry.client.errors import InvalidImageError
from ferry.client.images import Image
from ferry.client.options import Options, to_proto
from ferry.v1 import gateway_pb2

SHARE: Final = 0.5
"""Of a call's time, in which it takes frames."""

_Frame: TypeAlias = tuple[int, Image]


class _Carried:
    """What both have in common."""

    def __init__(self, options: Options) -> None:
        """
        Args:
            options: of all frames.

        Raises:
            InvalidRequestError, TypeError: as `options.to_proto`.
        """
        to_proto(options)
        self._options = options
        self._newest: _Frame | None = None
        self._over = False
        self._error: Exception | None = None
        self._unread: list[BatchItem] = []

    def results(self, response: gateway_pb2.RecognizeStreamResponse, call: Call) -> Iterator[BatchItem]:
        """What `response` says, after the frames that could not be read since the last one."""
        yield from self._take_unread()
        call.answered()
        if response.HasField("response"):
            yield response.frame_id, convert.recognition(response.response)
        else:
            yield response.frame_id, errors.from_item(response.error, call.request_id)

    def rest(self) -> Iterator[BatchItem]:
        """At the end: frames that could not be read.

        Raises:
            Exception: what the source raised, or a frame that is no image.
        """
        yield from self._take_unread()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _take_unread(self) -> list[BatchItem]:
        unread, self._unread = self._unread, []
        return unread

    @property
    def _something(self) -> bool:
        return self._newest is not None or self._over

    def _message(self, frame: _Frame) -> gateway_pb2.RecognizeStreamRequest | None:
        """None: it cannot be read."""
        number, image = frame
        try:
            return gateway_pb2.RecognizeStreamRequest(frame_id=number, request=calls.frame(image, self._options))
        except InvalidImageError as error:
            self._unread.append((number, error))
            return None


class Frames(_Carried):
    """Of a source that a thread of its own reads."""

    def __init__(self, source: Iterable[Image], options: Options) -> None:
        """Begins to read.

        Args:
            source: of frames.
            options: of all of them.
        """
        super().__init__(options)
        self._news = threading.Condition()
        self._call: object = None
        threading.Thread(target=self._read, args=(source,), name="ferry-frames", daemon=True).start()

    def wait(self) -> bool:
        """Returns when there is a frame, or with False when no more come."""
        with self._news:
            self._news.wait_for(lambda: self._something)
            return self._newest is not None

    def messages(self, seconds: float) -> Iterator[gateway_pb2.RecognizeStreamRequest]:
        """For one call, for so long, or until there is a next one."""
        with self._news:
            self._call = mine = object()
            self._news.notify_all()
        return self._messages(mine, time.monotonic() + seconds)

    def close(self) -> None:
        """No more frames are taken."""
        with self._news:
            self._over, self._newest = True, None
            self._news.notify_all()

    def _messages(self, mine: object, end: float) -> Iterator[gateway_pb2.RecognizeStreamRequest]:
        while (frame := self._take(mine, end)) is not None:
            try:
                message = self._message(frame)
            except Exception as error:
                self._error = error
                self.close()
                return
            if message is not None:
                yield message

    def _take(self, mine: object, end: float) -> _Frame | None:
        with self._news:
            left = max(0.0, end - time.monotonic())
            self._news.wait_for(lambda: self._something or self._call is not mine, timeout=left)
            if self._call is not mine or time.monotonic() >= end:
                return None
            frame, self._newest = self._newest, None
            return frame

    def _read(self, source: Iterable[Image]) -> None:
        try:
            for frame in enumerate(source):
                with self._news:
                    if self._over:
                        return
                    self._newest = frame
                    self._news.notify_all()
        except Exception as error:
            self._error = error
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()


class AsyncFrames(_Carried):
    """Of a source that a task of its own reads. One event loop."""

    def __init__(self, source: AsyncIterable[Image], options: Options) -> None:
        """Begins to read.

        Args:
            source: of frames.
            options: of all of them.
        """
        super().__init__(options)
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read(source))

    async def wait(self) -> bool:
        """Returns when there is a frame, or with False when no more come."""
        await self._news.wait()
        return self._newest is not None

    async def messages(self, seconds: float) -> AsyncIterator[gateway_pb2.RecognizeStreamRequest]:
        """For one call, for so long."""
        end = time.monotonic() + seconds
        while (frame := await self._take(end)) is not None:
            try:
                message = await asyncio.to_thread(self._message, frame)
            except Exception as error:
                self._error = error
                await self.close()
                return
            if message is not None:
                yield message

    async def close(self) -> None:
        """No more frames are taken."""
        self._over, self._newest = True, None
        self._news.set()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _take(self, end: float) -> _Frame | None:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                await self._news.wait()
        except TimeoutError:
            return None
        frame, self._newest = self._newest, None
        if not self._over:
            self._news.clear()
        return frame

    async def _read(self, source: AsyncIterable[Image]) -> None:
        number = 0
        try:
            async for image in source:
                self._newest = number, image
                self._news.set()
                number += 1
        except Exception as error:
            self._error = error
        finally:
            self._over = True
            self._news.set()
