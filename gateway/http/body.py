"""The body of a request, counted while it is received, and whether its sender is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope

from gateway.http.problems import BodyError
from serving import memory
from serving.units import size_text


class SenderGoneError(Exception):
    """The connection has ended."""


class Body:
    """What one request sends. One task reads; another may wait for the sender to leave."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"]}
        self.content_type = headers.get(b"content-type", "")
        self.encoding = headers.get(b"content-encoding", "").strip().lower()
        length = headers.get(b"content-length", "")
        # More than one length, or one that is no number, has ended at the parser.
        self.length = int(length) if length.isdigit() else None
        self._receive = receive
        self._over = asyncio.Event()
        self._gone = False

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""
        return self._over.is_set() and not self._gone

    async def chunks(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """As they come.

        Args:
            limit: bytes of the whole body; None: whoever reads counts.

        Raises:
            BodyError: it is larger than `limit`; nothing is read where it says so itself.
            SenderGoneError: it ended before it was complete.
        """
        if limit is not None and self.length is not None and self.length > limit:
            raise _too_large(limit)
        size = 0
        while not self._over.is_set():
            message = await self._receive()
            if message["type"] != "http.request":
                self._gone = True
                self._over.set()
                raise SenderGoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            memory.received(len(chunk))
            if limit is not None and size > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                self._over.set()
            if chunk:
                yield chunk

    async def read(self, limit: int) -> bytes:
        """All of it; raises as `chunks`."""
        return b"".join([chunk async for chunk in self.chunks(limit)])

    async def sender_gone(self) -> None:
        """Returns when the sender has left, which is seen once all has come, or while it comes."""
        await self._over.wait()
        while not self._gone:
            message = await self._receive()
            self._gone = message["type"] != "http.request"


def _too_large(limit: int) -> BodyError:
    return BodyError(413, f"is larger than {size_text(limit)}; send a smaller or more compressed copy")
