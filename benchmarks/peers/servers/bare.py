"""No server: an endless supply of images, answered by nothing but the kernels. `python -m ... BATCH`, one process.

Reads lines from standard input. `SECONDS FILE`: answers images made of FILE for so long and prints one line of JSON:
images, seconds, milliseconds of each batch. `check FILE`: prints the answer.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.peers.bodies import numbered
from benchmarks.peers.kernels import Kernels, Plan


def main(batch: int) -> None:
    """Until standard input ends."""
    kernels = Kernels(Plan.from_environment())
    numbers = itertools.count(os.getpid() << 24)
    for line in sys.stdin:
        what, _, file = line.strip().partition(" ")
        body = Path(file).read_bytes()
        if what == "check":
            print(json.dumps(kernels.answer([body])[0]), flush=True)
            continue
        took: list[float] = []
        begin = time.perf_counter()
        while (now := time.perf_counter()) < begin + float(what):
            kernels.answer([numbered(body, next(numbers), kernels.plan.task) for _ in range(batch)])
            took.append((time.perf_counter() - now) * 1000)
        print(json.dumps({"images": batch * len(took), "seconds": now - begin, "ms": took}), flush=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except BrokenPipeError:
        os._exit(1)  # who asked is gone; to flush what it will not read would only be told as another error
