"""An answer in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Stream(Response):
    """Unlike Starlette's, it leaves what comes in to whoever reads the body: an answer may begin before its end."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        max_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            pieces: closed at the end.
            media_type: of the whole.
            max_seconds: until all of it is sent; then the connection ends.
            headers: more of them.
        """
        super().__init__(None, 200, headers, media_type)
        if not headers or "content-length" not in headers:
            del self.headers["content-length"]
        self._pieces = pieces
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._max_seconds) as timer, aclosing(self._pieces):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for piece in self._pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            # Without its end the server closes the connection.
            if not timer.expired():
                raise
