"""Runs a service and counts what it does: `python -m benchmarks.counting.child FILE MODULE ARGUMENT...`

At SIGUSR1 it writes what it has counted so far to FILE, as JSON, and forgets the peak of its memory.
"""

from __future__ import annotations

import _thread
import itertools
import json
import os
import runpy
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

ROOT = Path(__file__).parent.parent.parent
OWN = tuple(f"{ROOT / package}{os.sep}" for package in ("ferry", "serving", "services", "gateway"))
"""Whose calls are counted: those into this code, and those that it makes into C. What an event loop does in between
depends on the clock."""


def main(file: Path, module: str, arguments: list[str]) -> None:
    """Never returns before the service does."""
    # An itertools.count is advanced without giving the interpreter away: threads lose no count.
    calls = itertools.count()
    own: dict[str, bool] = {}

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event not in {"call", "c_call"}:
            return
        name = frame.f_code.co_filename
        mine = own.get(name)
        if mine is None:
            mine = own[name] = name.startswith(OWN)
        if mine:
            next(calls)

    def report(number: int, frame: FrameType | None) -> None:
        current, peak = tracemalloc.get_traced_memory()
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps({"calls": next(calls), "current": current, "peak": peak}))
        draft.rename(file)
        tracemalloc.reset_peak()

    start = _thread.start_new_thread

    def start_counted(
        work: Callable[..., object], arguments: tuple[Any, ...], named: Mapping[str, Any] = MappingProxyType({})
    ) -> int:
        def counted() -> None:
            sys.setprofile(profile)
            work(*arguments, **named)

        return start(counted, ())

    signal.signal(signal.SIGUSR1, report)
    tracemalloc.start()
    threading.setprofile(profile)
    _thread.start_new_thread = start_counted  # those that `threading` does not know
    sys.setprofile(profile)
    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
