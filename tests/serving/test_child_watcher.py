"""Processes of the event loop, and how it hears of their end. The watcher is a whole process's: each test has one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

from serving.child_watcher import watch_without_threads
from tests.serving.scarce import spare_threads

NAME = "tests.serving.test_child_watcher"


@pytest.mark.parametrize("kernel", ["new", "old"])
def test_the_end_of_a_process_is_heard_of_and_takes_a_thread_on_an_old_kernel_alone(kernel: str) -> None:
    command = [sys.executable, "-m", NAME, kernel]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3 3", "")


async def main(kernel: str) -> str:
    """The exit statuses of two processes, where a new kernel needs no thread."""
    if kernel == "old":
        del os.pidfd_open
    watch_without_threads()
    with spare_threads() if kernel == "new" else nullcontext():
        return " ".join([str(await _end_of_a_process()) for _ in range(2)])


async def _end_of_a_process() -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")
    return await process.wait()


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1])), end="")
