"""Looks at one picture after the other, each in a fork of its own that dies alone. A program: `helper` starts it.

What it is asked (serving.companion): `Task`, then the bytes of the picture. What it answers: `Answer`, then the bytes
of the pixels, if any.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO, Any, TypedDict

from serving.companion import questions
from serving.errors import InvalidArgumentError, OverloadedError
from serving.images.cost import outline
from serving.images.decode import decode_reduced

IDLE_SECONDS = 60.0
"""After which the process ends; the next picture starts another one in half a second."""
SECONDS = 30
"""For one picture, of the processor and of the clock; 40 megapixels take 4 on one core of today."""
MARGIN = 64 << 20
"""Bytes of address space beside the process's own and what the picture may take: maps of allocators are not exact."""


class Task(TypedDict):
    """size: bytes of the picture; reduction: 0: the header alone; memory: bytes that it may take."""

    size: int
    reduction: int
    max_megapixels: float
    memory: int


class Answer(TypedDict, total=False):
    """died: what the fork ended by; error: why the picture is refused; else what was found, and bytes of pixels."""

    died: str
    error: str
    found: dict[str, Any]
    size: int


def main() -> int:
    task: Task
    for task, read in questions(IDLE_SECONDS):
        _serve(task, read(task["size"]), sys.stdout.buffer)
    return 0


def _serve(task: Task, data: bytes, answers: IO[bytes]) -> None:
    with os.fdopen(os.memfd_create("answer"), "w+b") as file:
        child = os.fork()
        if child == 0:
            os._exit(_look(task, data, file))
        status = os.waitpid(child, 0)[1]
        if status:
            reason = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
            answers.write(json.dumps(Answer(died=reason)).encode() + b"\n")
        else:
            file.seek(0)
            while part := file.read(1 << 20):
                answers.write(part)
        answers.flush()


def _look(task: Task, data: bytes, file: IO[bytes]) -> int:
    """In the fork: 0 where `file` holds an answer."""
    try:
        signal.alarm(SECONDS)
        memory = _address_space() + task["memory"] + MARGIN
        for what, limit in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CPU, SECONDS),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (limit, limit))
        answer, pixels = _answer(task, data)
        answer["size"] = len(pixels)
        file.write(json.dumps(answer).encode() + b"\n")
        file.write(pixels)
        file.flush()
    except BaseException:
        return 1
    return 0


def _answer(task: Task, data: bytes) -> tuple[Answer, bytes | memoryview]:
    try:
        if not task["reduction"]:
            seen = outline(data, task["max_megapixels"])
            costs = {by: [cost.peak, cost.held] for by, cost in seen.costs.items()}
            found = {"format": seen.format, "mode": seen.mode, "width": seen.width, "height": seen.height}
            return Answer(found={**found, "costs": costs, "apart": seen.apart}), b""
        picture = decode_reduced(data, task["reduction"], task["max_megapixels"])
    except OverloadedError:
        return Answer(
            error=f"takes more than the {task['memory'] >> 20} MiB that its header allows for; save it again"
        ), b""
    except InvalidArgumentError as error:
        if isinstance(error.__cause__, MemoryError):  # of a header; that of a picture is no InvalidArgumentError
            raise
        return Answer(error=error.description), b""
    rows, columns, _ = picture.pixels.shape
    found = {"width": picture.width, "height": picture.height, "reduction": picture.reduction}
    return Answer(found={**found, "rows": rows, "columns": columns}), picture.pixels.data.cast("B")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
