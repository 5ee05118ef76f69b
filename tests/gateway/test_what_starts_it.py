"""What a gateway loads to start, which is most of the time that it takes."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import ROOT

NOT_NEEDED = ("opentelemetry.sdk", "psutil", "numpy", "cv2", "ultralytics")
_PROGRAM = "import sys, gateway.service, gateway.http.door, redis; print(*sys.modules)"


def test_nothing_that_it_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"redis.asyncio", "fastapi"} <= loaded
    assert sorted(loaded.intersection(NOT_NEEDED)) == []
