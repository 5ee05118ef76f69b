"""How pictures are looked at: in this process, or, where a replica was lost with one, in another that may die of it."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Protocol

from serving.budget import Budget
from serving.images.apart.helper import Helper
from serving.images.cost import Outline, outline, plain_outline
from serving.images.decode import Picture, decode_reduced
from serving.images.heif import KINDS
from serving.images.names import format_name
from serving.thread_pool import ThreadPool


class Eyes(Protocol):
    """What the detector needs.

    Attributes:
        headers: where `outline` is to run.
        pool: where `decode` is to run.
        copies: of the pixels that there are at once.
    """

    @property
    def headers(self) -> Executor: ...
    @property
    def pool(self) -> Executor: ...
    @property
    def copies(self) -> int: ...

    def at_once(self, data: bytes) -> Outline | None:
        """The outline of a picture so ordinary that it takes no thread; None: it takes one.

        Raises:
            InvalidArgumentError: field `image`; it is too large.
        """

    def outline(self, data: bytes) -> Outline:
        """As `serving.images.cost.outline`."""

    def decode(self, data: bytes, reduction: int, memory: int) -> Picture:
        """As `serving.images.decode.decode_reduced`; memory: bytes that this takes, by the outline."""


class OwnEyes:
    """In this process."""

    copies = 1

    def __init__(self, pool: Executor, max_megapixels: float, heif: bool) -> None:
        self.pool = pool
        # One thread: readers of some formats fill a whole screen as soon as they see its size.
        self.headers = ThreadPool(1, "header")
        self._max_megapixels = max_megapixels
        self._heif = heif

    def at_once(self, data: bytes) -> Outline | None:
        return plain_outline(data, self._max_megapixels)

    def outline(self, data: bytes) -> Outline:
        return outline(data, self._max_megapixels, heif=self._heif)

    def decode(self, data: bytes, reduction: int, memory: int) -> Picture:
        return decode_reduced(data, reduction, self._max_megapixels, heif=self._heif)

    def close(self) -> None:
        self.headers.shutdown(wait=False, cancel_futures=True)


class EyesApart:
    """In a process of their own, one picture after the other."""

    copies = 2

    def __init__(self, helper: Helper, max_megapixels: float, max_waiting: int, max_waiting_bytes: int) -> None:
        """
        Args:
            helper: what looks.
            max_megapixels: as of `outline`.
            max_waiting: callers that may wait for their turn.
            max_waiting_bytes: of the pictures of all who wait.
        """
        self.turns = Budget(1, max_waiting, "images", max_waiting_bytes)
        """One for whoever is looked at. Taken before room to decode is, so that nobody holds room for others' turns."""
        self.pool = self.headers = ThreadPool(1, "apart")
        self._helper = helper
        self._max_megapixels = max_megapixels

    @staticmethod
    def take(data: bytes) -> bool:
        """Whether a picture is for them. HEIC and AVIF are not: no decoder of theirs runs in this process anyway."""
        return format_name(data) not in KINDS

    @property
    def start_seconds(self) -> float:
        """As of `Helper`."""
        return self._helper.start_seconds

    def at_once(self, data: bytes) -> Outline | None:
        return None

    def outline(self, data: bytes) -> Outline:
        return self._helper.outline(data, self._max_megapixels)

    def decode(self, data: bytes, reduction: int, memory: int) -> Picture:
        return self._helper.decode(data, reduction, self._max_megapixels, memory)

    def close(self) -> None:
        self.pool.submit(self._helper.close)
        self.pool.shutdown(wait=False)
