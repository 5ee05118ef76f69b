"""Asks the process in which suspect pictures are looked at, and bears its end."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from typing import Any

import numpy as np

from serving.bare_environment import bare_environment
from serving.errors import InvalidArgumentError
from serving.images.apart.program import SECONDS, Answer, Task
from serving.images.cost import RGB_BYTES, DecodeCost, Outline
from serving.images.decode import Picture

log = logging.getLogger(__name__)

OUTLINE_MEMORY = 256 << 20
"""Bytes that reading a header may take."""
PROGRAM = "serving.images.apart.program"
_WALL_SECONDS = SECONDS + 10.0
"""For one picture, a start of the process included."""


class Helper:
    """`serving.images.cost.outline` and `serving.images.decode.decode_reduced`, where nothing of this process is at
    stake. HEIC and AVIF are not for it: they are always decoded apart. To be used by one thread at a time."""

    def __init__(self, program: str = PROGRAM) -> None:
        """
        Args:
            program: the module that looks at the pictures.
        """
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def outline(self, data: bytes, max_megapixels: float) -> Outline:
        """As `serving.images.cost.outline`.

        Raises:
            InvalidArgumentError: the picture is refused, or ended the process; field `image`.
        """
        found, _ = self._ask(data, _task(data, 0, max_megapixels, OUTLINE_MEMORY))
        costs = {int(by): DecodeCost(int(peak), int(held)) for by, (peak, held) in found["costs"].items()}
        return Outline(str(found["format"]), str(found["mode"]), int(found["width"]), int(found["height"]), costs)

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

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _ask(self, data: bytes, task: Task) -> tuple[dict[str, Any], bytes]:
        for _ in range(2):  # it ends when it is idle, which may be now
            process = self._running()
            timer = threading.Timer(_WALL_SECONDS, process.kill)
            timer.start()
            try:
                answer, pixels = _exchange(process, data, task)
                break
            except (OSError, EOFError, ValueError) as error:
                log.warning("the process for suspect pictures ended: %s", error)
                self.close()
                died = str(error)
            finally:
                timer.cancel()
        else:
            answer, pixels = Answer(died=died), b""
        if "died" in answer:
            log.error("a picture that a replica was lost with ended the process it was decoded in: %s", answer["died"])
            raise InvalidArgumentError("image", f"ends the process that decodes it ({answer['died']}); it is not read")
        if "error" in answer:
            raise InvalidArgumentError("image", str(answer["error"]))
        return answer["found"], pixels

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=bare_environment(),
        )
        return self._process


def _task(data: bytes, reduction: int, max_megapixels: float, memory: int) -> Task:
    return Task(size=len(data), reduction=reduction, max_megapixels=max_megapixels, memory=memory)


def _exchange(process: subprocess.Popen[bytes], data: bytes, task: Task) -> tuple[Answer, bytes]:
    """
    Raises:
        OSError, EOFError, ValueError: the process has ended, or answers nonsense.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.write(data)
    process.stdin.flush()
    line = process.stdout.readline(1 << 16)
    if not line:
        raise EOFError("without an answer")
    answer: Answer = json.loads(line)
    size = answer.get("size", 0)
    if not 0 <= size <= task["max_megapixels"] * 1e6 * RGB_BYTES:
        raise ValueError("more pixels than there may be")
    pixels = process.stdout.read(size)
    if len(pixels) < size:
        raise EOFError("in the middle of an answer")
    return answer, pixels
