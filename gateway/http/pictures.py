"""The annotated picture as the answer: drawn in a process apart, few at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from typing import Final

from ferry.client import convert
from ferry.v1 import gateway_pb2
from gateway.http.problems import Problem, ProblemError
from serving.bare_environment import bare_environment, own_program

log = logging.getLogger(__name__)

PNG: Final = "image/png"
PROGRAM: Final = "serving.images.drawing.program"
AT_ONCE: Final = 1
MOST_WAITING: Final = 8
SECONDS: Final = 15.0
"""For one picture, the start of the process included; and as long for its turn to come."""
REFUSED: Final = 3
"""Exit status of a program that will not draw into this picture (serving.images.drawing.program)."""
_PIECE: Final = 64 << 10
_RETRY: Final = {"retry-after": "2"}


class Pictures:
    """Draws what was found into what was sent. The gateway itself decodes nothing."""

    def __init__(self, program: str = PROGRAM) -> None:
        """
        Args:
            program: the module that draws.
        """
        self._program = program
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def draw(self, image: bytes, answer: gateway_pb2.RecognizeResponse) -> bytes:
        """The picture as PNG.

        Raises:
            ProblemError: it cannot be drawn into, or too many others are being drawn.
        """
        if self._waiting >= MOST_WAITING + AT_ONCE:
            raise _busy()
        self._waiting += 1
        try:
            try:
                async with asyncio.timeout(SECONDS):
                    await self._turn.acquire()
            except TimeoutError:
                raise _busy() from None
            try:
                return await self._run(_task(answer) + image)
            finally:
                self._turn.release()
        finally:
            self._waiting -= 1

    async def _run(self, task: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *own_program(self._program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=bare_environment(),
        )
        try:
            async with asyncio.timeout(SECONDS):
                drawn, _ = await process.communicate(task)
        except TimeoutError:
            drawn = b""
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode not in {0, REFUSED}:
            log.warning("the process that draws into a picture ended with status %s", process.returncode)
        if process.returncode or not drawn:
            said = "this picture cannot be drawn into: it is too large or of an unusual kind; ask for application/json"
            raise ProblemError(Problem(406, said, field="accept"))
        return drawn


def _busy() -> ProblemError:
    return ProblemError(Problem(429, "too many pictures are being drawn; try again shortly", headers=_RETRY))


def wants_png(accept: str) -> bool:
    """Whether `Accept` names PNG, and JSON no more than that."""
    shares = {"image/png": 0.0, "application/json": 0.0}
    for item in accept.lower().split(","):
        kind, _, parameters = item.strip().partition(";")
        share = 1.0
        name, _, value = parameters.strip().partition("=")
        if name.strip() == "q":
            try:
                share = float(value)
            except ValueError:
                share = 0.0
        if kind.strip() in shares:
            shares[kind.strip()] = share
    return shares["image/png"] > shares["application/json"]


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    """`data` as a slow receiver can take it."""
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _task(answer: gateway_pb2.RecognizeResponse) -> bytes:
    found = convert.recognition(answer)
    marks = [(face.box.xyxy, face.expression, face.confidence) for face in found.faces]
    return json.dumps({"marks": marks, "width": max(1, found.image_size.width)}).encode() + b"\n"
