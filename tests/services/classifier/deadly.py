"""The classifier, or the program that runs its model for suspects, where some crops end the process that judges them.

`python -m tests.services.classifier.deadly FLAGS...` is the classifier; with the file of a model, it is the program.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import Any

import numpy as np

import serving.models.host
from serving.models.apart import program
from serving.models.apart.helper import ModelApart
from serving.models.backends.onnx_runtime import OnnxRuntimeBackend

DEADLY = 77 / 255
"""What every value of such a row is."""
NAME = "tests.services.classifier.deadly"


def arm() -> None:
    """From now on this process can be killed by a crop."""
    run = OnnxRuntimeBackend.run

    def deadly(self: OnnxRuntimeBackend, rows: Any) -> Any:
        if np.isclose(rows, DEADLY).reshape(len(rows), -1).all(axis=1).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        return run(self, rows)

    OnnxRuntimeBackend.run = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    arm()
    if len(sys.argv) == 2:
        sys.exit(program.main())
    from services.classifier.service import ClassifierService
    from services.classifier.settings import ClassifierSettings
    from serving.server import run as serve
    from serving.settings import load

    serving.models.host.ModelApart = partial(ModelApart, program=NAME)  # type: ignore[assignment, misc]
    settings = load(ClassifierSettings)
    serve(ClassifierService(settings), settings)
