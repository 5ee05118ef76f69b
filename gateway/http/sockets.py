"""WebSockets with bounds that uvicorn leaves to others: many small frames at once, or in one message, pings of who does
not read, and handshakes that are none."""

from __future__ import annotations

from typing import Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from gateway.http.problems import Problem

MOST_FRAMES: Final = 1024
"""Frames in what comes in at once, at most 256 KiB; each costs as much time as some kilobytes do."""
MOST_PARTS: Final = 256
"""Frames of one message, which are kept until its last: the smallest takes fifty times its size, an empty one counts
nothing against the size of a message. Browsers send a picture in one, or in some of 64 KiB and more."""
MOST_UNREAD_BYTES: Final = 1 << 20
"""That a caller has not taken in; with more it is cut off."""
_PIECE: Final = 16 << 10


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        self._frames = 0
        for start in range(0, len(data), _PIECE):
            super().data_received(data[start : start + _PIECE])
            if self.transport.is_closing():
                return
        if not self.handshake_initiated:
            # The request comes here whole; what the library cannot read of it, it says nothing about.
            self.transport.write(
                Problem(400, "this is no WebSocket handshake: too many or long headers, or a body").raw()
            )
            self.transport.close()

    def handle_events(self) -> None:
        self._frames += len(self.conn.events)
        if self._frames <= MOST_FRAMES:
            super().handle_events()
            return
        self._end("too many frames at once")

    def handle_cont(self, event: Frame) -> None:
        if self.transport.is_closing():
            # What came with one too many is not kept either.
            return
        super().handle_cont(event)
        if len(self.frames) >= MOST_PARTS:
            self.frames = []
            self._end("too many frames in one message")

    async def send(self, message: ASGISendEvent) -> None:
        await self.writable.wait()
        if self.close_sent:
            # By this protocol itself, upon what is no frame: nobody could know it before.
            raise ClientDisconnected
        await super().send(message)
        if self.close_sent or self.transport.is_closing():
            # Refused, or left: uvicorn would tell the log of an application that forgot the handshake.
            self.handshake_complete = True

    def handle_ping(self) -> None:
        super().handle_ping()
        # Answers wait until there is room for them; what answers a ping cannot.
        if self.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:
            # The handshake is not answered yet, and nothing else can be said before that.
            self.transport.abort()
            return
        super().handle_parser_exception()

    def _end(self, reason: str) -> None:
        self.conn.fail(CloseCode.POLICY_VIOLATION, reason)
        self.handle_parser_exception()
