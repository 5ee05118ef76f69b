"""Kills a writer before its first touch of a repository, another before its second, and so on to the end.

`python -m tests.killed_writers WRITER FOLDER FILE`: FOLDER/0, FOLDER/1, … are copies of FOLDER/before as each writer
left it; the last one was not killed. FILE is what the writer brings: an archive, or weights.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from modelkit.publishing.promotion import promote, rollback
from modelkit.publishing.publish import publish
from serving.repository.unpack import unpack
from tests.tiny_models import classifier_manifest

TOUCHES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
MOST_STEPS = 1000

WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "unpack": lambda root, file: unpack(file, root, 1 << 20),
    "publish": lambda root, file: publish(
        root, "tiny", {"model.onnx": file}, lambda version, files: classifier_manifest(version=version, files=files)
    ),
    "promote": lambda root, file: promote(root, "tiny", "2"),
    "rollback": lambda root, file: rollback(root, "tiny"),
}


def main(writer: str, folder: Path, file: Path) -> None:
    for step in range(MOST_STEPS):
        root = folder / str(step)
        shutil.copytree(folder / "before", root)
        child = os.fork()
        if child == 0:
            _kill_at(step, str(root))
            WRITERS[writer](root, file)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        if not os.WIFSIGNALED(status):
            sys.exit(f"the writer of step {step} failed")
    sys.exit("it never ended")


def _kill_at(step: int, below: str) -> None:
    left = step

    def touched(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in TOUCHES and any(below in str(each) for each in arguments):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(touched)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
