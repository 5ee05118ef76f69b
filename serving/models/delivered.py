"""Measurements that are delivered with a model, so that a service need not measure when it starts.

`ferry tune --deliver` writes them as `tuned-<processor>-<CPUs>-cpus.json` into the version's folder, where they become
part of the repository and of its images. One holds for a model of its digest, on its kind of processor with as many
CPUs and the same GPU, and with the same releases of the libraries that run models: `{"digest", "machine", "cpus",
"gpu", "libraries": {"onnxruntime", "openvino"}, "measurements"}`, the last as in serving.models.kept.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.bounded_read import read_json
from serving.cpu import available_cpus, cpu_name
from serving.disk import write_whole
from serving.models.backends.gpu import find_gpu, runtime_version
from serving.models.libraries import installed_version
from serving.repository.repository import StoredModel

log = logging.getLogger(__name__)

PREFIX = "tuned-"
_MOST_FILES = 256
"""Of a version that are looked at."""
MOST_BYTES = 1 << 20
"""Of a file of measurements."""


def here() -> dict[str, Any]:
    """What a measurement on this machine holds for."""
    gpu = find_gpu()
    return {
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "gpu": None if gpu is None else gpu.name,
        "libraries": {
            "onnxruntime": _release(runtime_version()),
            "openvino": _release(installed_version("openvino")),
        },
    }


def records(stored: StoredModel) -> Iterator[dict[str, Any]]:
    """Those that hold for a model on this machine; what they measured is not checked here.

    A file that cannot be read is left out, with a line in the log.
    """
    mine: dict[str, Any] | None = None
    for path in sorted(stored.directory.glob(f"{PREFIX}*.json"))[:_MOST_FILES]:
        try:
            record = read_json(path, MOST_BYTES)
            mine = mine or {"digest": stored.manifest.digest, **here()}
            if all(record[key] == value for key, value in mine.items()):
                yield record
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is left out: %s", path, error)


def write(stored: StoredModel, measurements: list[dict[str, Any]]) -> Path:
    """Writes what was measured here; returns where.

    Raises:
        OSError: it cannot be written.
    """
    processor = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    path = stored.directory / f"{PREFIX}{processor}-{available_cpus()}-cpus.json"
    record = {"digest": stored.manifest.digest, **here(), "measurements": measurements}
    write_whole(path, json.dumps(record, indent=1) + "\n")
    return path


def _release(version: str) -> str:
    """`1.32` of `1.32.0`: corrections change no choice."""
    return ".".join(version.split(".")[:2])
