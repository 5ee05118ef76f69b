"""The memory that decoding takes, read from the kernel in a process of its own.

`python -m benchmarks.decoding.measure REDUCTION FILE...` prints one line for each file: bytes at the peak and bytes
held afterwards, beyond what the process held before, and what is wrong with the file, if anything.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidArgumentError
from serving.images.decode import decode_reduced
from serving.memory import release_promptly


@dataclass(frozen=True, slots=True)
class Reading:
    """Bytes beyond what the process held before; error: what was said instead, empty where it was decoded."""

    peak: int
    held: int
    error: str = ""


def measure(files: Sequence[Path], reduction: int = 1) -> list[Reading]:
    """Decodes files one after another in one fresh process, which forgets its peak between them.

    Args:
        files: encoded images.
        reduction: as for `decode_reduced`.
    """
    command = [sys.executable, "-m", __name__, str(reduction), *map(str, files)]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [_parse(line) for line in lines]


def _parse(line: str) -> Reading:
    peak, held, error = line.split(" ", 2)
    return Reading(int(peak), int(held), error)


def status(field: str, process: int | str = "self") -> int:
    """A field of /proc/PID/status in bytes, such as `VmRSS` or, since the last reset, `VmHWM`."""
    for line in Path(f"/proc/{process}/status").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"the kernel does not say {field}")


def forget_peak(process: int | str = "self") -> None:
    """Sets VmHWM to VmRSS (Linux, proc(5): clear_refs)."""
    Path(f"/proc/{process}/clear_refs").write_text("5", "ascii")


def _readings(reduction: int, files: Sequence[str]) -> Iterator[Reading]:
    release_promptly()
    for _ in range(2):  # what the first picture of a process loads is not the second one's
        _decode(Path(files[0]).read_bytes(), reduction)
    for file in files:
        data = Path(file).read_bytes()
        gc.collect()
        before = status("VmRSS")
        forget_peak()
        error, pixels = _decode(data, reduction)
        yield Reading(status("VmHWM") - before, status("VmRSS") - before, error)
        del pixels


def _decode(data: bytes, reduction: int) -> tuple[str, object]:
    try:
        return "", decode_reduced(data, reduction, max_megapixels=1000).pixels
    except InvalidArgumentError as error:
        return error.description, None


if __name__ == "__main__":
    for reading in _readings(int(sys.argv[1]), sys.argv[2:]):
        print(reading.peak, reading.held, reading.error, flush=True)
