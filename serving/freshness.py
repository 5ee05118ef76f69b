"""The newest thing heard of a service that is asked by several at once."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

T = TypeVar("T")


class Freshest(Generic[T]):
    """Keeps the answer to the newest question. The answer to an older one says nothing about the present: a slow one
    must not undo a rollout.

    Attributes:
        value: of the newest question that was answered.
        asked_at: when that was asked, time.monotonic() seconds.
    """

    def __init__(self, value: T) -> None:
        """
        Args:
            value: before anything was heard.
        """
        self.value = value
        self.asked_at = -math.inf

    def hear(self, value: T, asked_at: float) -> bool:
        """Takes an answer to a question of `asked_at`; whether it is the newest."""
        if asked_at < self.asked_at:
            return False
        self.value, self.asked_at = value, asked_at
        return True
