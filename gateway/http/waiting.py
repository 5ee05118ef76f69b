"""Answers that wait, as bytes, until their callers read them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from serving.errors import OverloadedError

MAX_BYTES: Final = 64 << 20
"""Of all answers that wait in the process."""
_RETRY_SECONDS: Final = 2.0


@dataclass(slots=True)
class Room:
    """For the answers of all calls.

    Attributes:
        limit: bytes.
        held: bytes that wait at present.
    """

    limit: int = MAX_BYTES
    held: int = 0


class Waiting:
    """The answers of one call. One of them always finds room, so that whoever reads gets them all."""

    def __init__(self, room: Room) -> None:
        """
        Args:
            room: that all calls share.
        """
        self._room = room
        self._answers: deque[bytes] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, answer: bytes) -> None:
        """
        Raises:
            OverloadedError: there is no room for a second one.
        """
        if self._ended:
            return
        if self._answers and self._room.held + len(answer) > self._room.limit:
            raise OverloadedError("answers are not read", retry_after=_RETRY_SECONDS)
        self._room.held += len(answer)
        self._answers.append(answer)
        self._changed.set()

    def end(self) -> None:
        """There are no more."""
        self._ended = True
        self._changed.set()

    async def get(self) -> bytes | None:
        """The next one; None after the last."""
        while not self._answers:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        answer = self._answers.popleft()
        self._room.held -= len(answer)
        return answer

    def close(self) -> None:
        """Drops what nobody has read."""
        self.end()
        self._room.held -= sum(map(len, self._answers))
        self._answers.clear()
