"""What a run measured: readings of each server, kept as JSON; a later run of one part replaces only that part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

FERRY, BARE, ECHO = "Ferry", "bare", "bare echo"
FERRY_ALL = "Ferry, all"
"""With all that `--optimized` does by itself. As FERRY it computes what the others' kernels compute, and no less."""
OURS = frozenset({FERRY, FERRY_ALL})


@dataclass(frozen=True, slots=True)
class Reading:
    """One server in one round.

    Attributes:
        part: `images`, `classifier`, `cached`, `open-loop` or `faces`.
        server: its name.
        way: workers x threads, or Ferry's flags.
        precision: `fp32` or `bf16`.
        callers: at once; 0: in an open loop.
        per_second: images, crops or answers.
        p50_ms, p99_ms: of an answer.
        cpu_ms: user and system time of the server's processes for one answer.
        memory_mb: their proportional set size after the round; 0: not taken.
        errors: calls that failed.
        reference: the spinning loop before and after, the lower one, as a share of the run's best.
        others: share of the CPUs that other processes and guests had meanwhile.
        disturbed: too much of that.
        faces: in the picture.
        rate: requests a second that were sent, in an open loop.
    """

    part: str
    server: str
    way: str
    precision: str
    callers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    memory_mb: float
    errors: int
    reference: float
    others: float
    disturbed: bool
    faces: int = 1
    rate: float = 0.0

    @property
    def load(self) -> tuple[str, str, str, int, int]:
        """Who was measured in which way under what."""
        return self.server, self.way, self.precision, self.callers, self.faces


@dataclass(slots=True)
class Record:
    """All readings, and who could not be measured."""

    machine: str
    cpus: int
    when: str
    readings: list[Reading] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    differing: dict[str, str] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    tracing: float | None = None

    def of(self, part: str, **wanted: object) -> list[Reading]:
        """Readings of a part with these attributes; of each load that a server's way was under, those of quiet rounds
        where there are any."""
        found = [
            reading
            for reading in self.readings
            if reading.part == part and all(getattr(reading, name) == value for name, value in wanted.items())
        ]
        quiet = {reading.load for reading in found if not reading.disturbed}
        return [reading for reading in found if not reading.disturbed or reading.load not in quiet]

    def ways(self, part: str, **wanted: object) -> list[tuple[str, str, str]]:
        """Each server, way and precision with a reading, in the order of measuring."""
        return list(dict.fromkeys((r.server, r.way, r.precision) for r in self.of(part, **wanted)))

    def best(self, part: str, server: str, precision: str, **wanted: object) -> str | None:
        """The way in which a server answered most; None where it was not measured."""
        rates = {
            way: value(self.of(part, server=server, way=way, precision=precision, **wanted), per_second)
            for name, way, kind in self.ways(part, server=server, precision=precision, **wanted)
        }
        return max(rates, key=rates.__getitem__, default=None)

    def replace(self, part: str, precision: str | None = None) -> None:
        """Forgets what was measured of a part."""
        self.readings = [
            reading
            for reading in self.readings
            if reading.part != part or (precision is not None and reading.precision != precision)
        ]

    @property
    def empty(self) -> bool:
        """Whether nothing was measured, and nobody found who cannot be."""
        return not (self.readings or self.missing or self.differing) and self.tracing is None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """What `write` wrote.

        Raises:
            OSError, ValueError, TypeError: there is none, or of another kind.
        """
        fields = json.loads(path.read_text())
        readings = [Reading(**reading) for reading in fields.pop("readings")]
        return cls(readings=readings, **fields)


def per_second(reading: Reading) -> float:
    return reading.per_second


def p50(reading: Reading) -> float:
    return reading.p50_ms


def p99(reading: Reading) -> float:
    return reading.p99_ms


def cpu(reading: Reading) -> float:
    return reading.cpu_ms


def memory(reading: Reading) -> float:
    return reading.memory_mb


def value(readings: Iterable[Reading], get: Callable[[Reading], float]) -> float:
    """The median of one figure over rounds; NaN without any."""
    figures = [get(reading) for reading in readings]
    return median(figures) if figures else float("nan")
