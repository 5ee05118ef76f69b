"""The detector, or the program that looks at suspect pictures, where some pictures end the process that decodes them.

`python -m tests.services.detector.deadly FLAGS...` is the detector; without flags it is the program.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import services.detector.eyes
import serving.images.apart.program
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from serving.images.apart.helper import Helper
from serving.server import run
from serving.settings import load

DEADLY_HEADER, DEADLY_PIXELS = b"a header that kills", b"pixels that kill"
"""What such a picture has behind its end."""
NAME = "tests.services.detector.deadly"


def arm() -> None:
    """From now on this process can be killed by a picture."""
    for module in (services.detector.eyes, serving.images.apart.program):
        for name, mark in (("outline", DEADLY_HEADER), ("decode_reduced", DEADLY_PIXELS)):
            setattr(module, name, _deadly(getattr(module, name), mark))


def _deadly(look: Any, mark: bytes) -> Any:
    def looked(data: bytes, *args: Any, **kwargs: Any) -> Any:
        if mark in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        return look(data, *args, **kwargs)

    return looked


if __name__ == "__main__":
    arm()
    if len(sys.argv) == 1:
        sys.exit(serving.images.apart.program.main())
    settings = load(DetectorSettings)
    run(DetectorService(settings, Helper(NAME)), settings)
