"""Asks the process in which suspect pictures are looked at, and bears its end."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from serving.companion import Companion, EndedError, Read
from serving.errors import InvalidArgumentError
from serving.images.apart.program import SECONDS, Answer, Task
from serving.images.cost import RGB_BYTES, DecodeCost, Outline
from serving.images.decode import Picture

log = logging.getLogger(__name__)

OUTLINE_MEMORY = 256 << 20
"""Bytes that reading a header may take."""
PROGRAM = "serving.images.apart.program"
START_SECONDS = 0.25
"""That the process needs at least to load its libraries; mostly half a second."""


class Helper:
    """`serving.images.cost.outline` and `serving.images.decode.decode_reduced`, where nothing of this process is at
    stake. HEIC and AVIF are not for it: they are always decoded apart. To be used by one thread at a time."""

    def __init__(self, program: str = PROGRAM) -> None:
        """
        Args:
            program: the module that looks at the pictures.
        """
        self._companion = Companion(program, seconds=SECONDS + 10.0, start_seconds=START_SECONDS)

    def outline(self, data: bytes, max_megapixels: float) -> Outline:
        """As `serving.images.cost.outline`.

        Raises:
            InvalidArgumentError: the picture is refused, or ended the process; field `image`.
        """
        found, _ = self._ask(data, _task(data, 0, max_megapixels, OUTLINE_MEMORY))
        costs = {int(by): DecodeCost(int(peak), int(held)) for by, (peak, held) in found["costs"].items()}
        size = int(found["width"]), int(found["height"])
        return Outline(str(found["format"]), str(found["mode"]), *size, costs, bool(found["apart"]))

    def decode(self, data: bytes, reduction: int, max_megapixels: float, memory: int) -> Picture:
        """As `serving.images.decode.decode_reduced`.

        Args:
            memory: bytes that it may take, by `outline`.

        Raises:
            InvalidArgumentError: the picture is refused, or ended the process; field `image`.
        """
        found, pixels = self._ask(data, _task(data, reduction, max_megapixels, memory))
        rows, columns = int(found["rows"]), int(found["columns"])
        array = np.frombuffer(pixels, np.uint8).reshape(rows, columns, RGB_BYTES)
        return Picture(array, int(found["width"]), int(found["height"]), int(found["reduction"]))

    @property
    def start_seconds(self) -> float:
        """Seconds that its process needs at least until it can be asked; 0: it runs."""
        return self._companion.start_seconds

    def close(self) -> None:
        """Ends the process."""
        self._companion.close()

    def _ask(self, data: bytes, task: Task) -> tuple[dict[str, Any], bytes | bytearray]:
        most = task["max_megapixels"] * 1e6 * RGB_BYTES

        def take(answer: Answer, read: Read) -> tuple[Answer, bytes | bytearray]:
            size = answer.get("size", 0)
            if not 0 <= size <= most:
                raise ValueError("more pixels than there may be")
            return answer, read(size)

        try:
            answer, pixels = self._companion.ask(task, data, take)
        except EndedError as error:
            answer, pixels = Answer(died=str(error)), b""
        if "died" in answer:
            log.error("a picture ended the process that it was decoded in: %s", answer["died"])
            raise InvalidArgumentError("image", f"ends the process that decodes it ({answer['died']}); it is not read")
        if "error" in answer:
            raise InvalidArgumentError("image", str(answer["error"]))
        return answer["found"], pixels


def _task(data: bytes, reduction: int, max_megapixels: float, memory: int) -> Task:
    return Task(size=len(data), reduction=reduction, max_megapixels=max_megapixels, memory=memory)
