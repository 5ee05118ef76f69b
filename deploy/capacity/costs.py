"""What one image costs each service, in seconds of one CPU: `ferry bench autoscaling --measure` finds it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("costs.json")
"""The measurement that is committed; the docs say on which machine."""


class CostsError(ValueError):
    """A file of costs that cannot be used; the message names file and field."""


@dataclass(frozen=True, slots=True)
class ServiceCost:
    """CPU seconds of one service.

    Attributes:
        request_seconds: for each call, beside the model: gRPC, decoding, crops, the vote. 0 or more.
        run_seconds: for a run of so many rows, by number of rows, ascending; empty for a service without a model.
    """

    request_seconds: float
    run_seconds: Mapping[int, float]

    def run(self, rows: int) -> float:
        """Seconds of one run of `rows` rows, 1 or more: between measured sizes on a line, beyond the last per row."""
        if not self.run_seconds:
            return 0.0
        sizes = list(self.run_seconds)
        if rows <= sizes[0]:
            return self.run_seconds[sizes[0]]
        for low, high in pairwise(sizes):
            if rows <= high:
                share = (rows - low) / (high - low)
                return (1 - share) * self.run_seconds[low] + share * self.run_seconds[high]
        return self.run_seconds[sizes[-1]] * rows / sizes[-1]


@dataclass(frozen=True, slots=True)
class Line:
    """Bytes of an answer by its faces: `base + per_face * faces`."""

    base: float
    per_face: float

    def at(self, faces: float) -> float:
        return self.base + self.per_face * faces


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything that was measured.

    Attributes:
        machine: the processor.
        note: under which circumstances; shown wherever the figures are.
        services: by name of the Deployment.
        cached_seconds: CPU of the gateway for an answer from its cache.
        image_bytes: of the picture that was measured with.
        crop_bytes: of one face on its way from detector to classifiers.
        answer_bytes: from the gateway to its caller, and from the ensembler to the gateway.
        entry_bytes: in Redis, key and overhead included.
    """

    machine: str
    note: str
    services: Mapping[str, ServiceCost]
    cached_seconds: float
    image_bytes: float
    crop_bytes: float
    answer_bytes: Line
    entry_bytes: Line

    def record(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self)


def read_costs(path: Path = MEASURED) -> Costs:
    """
    Raises:
        CostsError: it is not there or does not fit.
    """
    try:
        record = json.loads(path.read_text())
        services = {name: _service(value) for name, value in record["services"].items()}
        return Costs(
            machine=str(record["machine"]),
            note=str(record["note"]),
            services=services,
            cached_seconds=_number(record, "cached_seconds"),
            image_bytes=_number(record, "image_bytes"),
            crop_bytes=_number(record, "crop_bytes"),
            answer_bytes=_line(record["answer_bytes"]),
            entry_bytes=_line(record["entry_bytes"]),
        )
    except KeyError as error:
        raise CostsError(f"{path}: {error.args[0]} is missing; measure with --measure") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CostsError(f"{path}: {error}; measure with --measure") from error


def _service(record: Mapping[str, Any]) -> ServiceCost:
    runs = {int(rows): _number(record["run_seconds"], rows) for rows in record["run_seconds"]}
    if any(rows < 1 for rows in runs):
        raise ValueError("run_seconds: a run has 1 row or more")
    return ServiceCost(_number(record, "request_seconds"), dict(sorted(runs.items())))


def _line(record: Mapping[str, Any]) -> Line:
    return Line(_number(record, "base"), _number(record, "per_face"))


def _number(record: Mapping[str, Any], key: str) -> float:
    value = float(record[key])
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{key} must be 0 or more, not {value}")
    return value
