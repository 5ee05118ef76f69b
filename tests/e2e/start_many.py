"""Starts many services one after another, each in a fork of one process that has imported everything.

Reads a JSON list of `[module, argument, ...]` from standard input, writes a JSON list of `[exit code, stderr]`. A start
that fails does so in milliseconds then, and not after the seconds that Python needs to import a service.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
import traceback

for _module in ("gateway", "services.ensembler", "services.detector", "services.classifier"):
    importlib.import_module(f"{_module}.service")
importlib.import_module("serving.models.backends.onnx_runtime")

SECONDS = 60
"""Until a service that should have failed is taken to run; its exit code is then that of SIGALRM."""


def start(command: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            signal.alarm(SECONDS)
            os._exit(run(command))
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        return os.waitstatus_to_exitcode(status), errors.read().decode(errors="replace")


def run(command: list[str]) -> int:
    sys.argv = command
    try:
        runpy.run_module(command[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    print(json.dumps([start(command) for command in json.load(sys.stdin)]))
