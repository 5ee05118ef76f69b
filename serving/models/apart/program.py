"""Runs a model for one suspect after the other. A program: `helper` starts it with the model's file, and it may die.

What it is asked (serving.companion): `Task`, then the bytes of the rows. What it answers: `Answer`, then the bytes of
each output.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

import numpy as np

from serving.companion import questions
from serving.models.backends.onnx_runtime import OnnxRuntimeBackend

IDLE_SECONDS = 10.0
"""After which the process ends; the next suspect starts another one in a second or two."""
SECONDS = 60
"""For one task: the slowest model of the repository takes a second for the largest on one core of today."""


class Task(TypedDict):
    """type: NumPy's name of the rows' type; shape: of the rows."""

    type: str
    shape: list[int]


class Answer(TypedDict, total=False):
    """error: why there are no outputs; else their shapes by name, float32, in the order of their bytes."""

    error: str
    shapes: dict[str, list[int]]


def main() -> int:
    answers = sys.stdout.buffer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # where memory ends, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    model = OnnxRuntimeBackend(Path(sys.argv[1]), threads=1)
    task: Task
    for task, read in questions(IDLE_SECONDS):
        kind = np.dtype(task["type"])
        data = read(int(np.prod(task["shape"])) * kind.itemsize)
        rows = np.frombuffer(data, kind).reshape(task["shape"])
        signal.alarm(SECONDS)
        try:
            outputs = model.run(rows)
        except Exception as error:
            answer, parts = Answer(error=f"{type(error).__name__}: {error}"[:200]), []
        else:
            answer = Answer(shapes={name: list(values.shape) for name, values in outputs.items()})
            parts = [np.ascontiguousarray(values, np.float32) for values in outputs.values()]
        signal.alarm(0)
        answers.write(json.dumps(answer).encode() + b"\n")
        for part in parts:
            answers.write(part.data.cast("B"))
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
