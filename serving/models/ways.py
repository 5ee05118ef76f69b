"""Ways to run a model, and what was measured of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from serving.models.backends import GPU_BACKENDS

FULL_PRECISION = "fp32"
DEFAULT_VARIANT = "default"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run a model; `variant` names the file of it, as the manifest does.

    Attributes:
        backend: one of BACKENDS or GPU_BACKENDS.
        precision: of the arithmetic.
        threads: of one run.
        batch: rows of one run.
        runs: at the same time.
        rest: threads of a run of one row while no other run is under way; 0: as many as ever.
    """

    backend: str
    precision: str
    threads: int
    batch: int
    variant: str = DEFAULT_VARIANT
    runs: int = 1
    rest: int = 0

    @property
    def arithmetic(self) -> tuple[str, str, str]:
        """Backend, precision and variant: all that decides the answers."""
        return self.backend, self.precision, self.variant

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return "cuda" if self.backend in GPU_BACKENDS else "cpu"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a candidate did.

    Attributes:
        rows_per_second: throughput of back-to-back runs, of all that are made at once together.
        run_ms: least duration of a run in milliseconds.
        difference: largest absolute difference of any output score from float32 on ONNX Runtime.
        passed: whether its accuracy on labelled pictures passed a gate; None where nobody has looked.
        cpu_ms: milliseconds of CPU for a row; 0 where nobody has looked.
    """

    candidate: Candidate
    rows_per_second: float
    run_ms: float
    difference: float
    passed: bool | None = None
    cpu_ms: float = 0.0


def splits(cpus: int, *, every: bool = False) -> Iterator[tuple[int, int]]:
    """Ways to share the CPUs out: threads of a run and runs at once, all threads on one run first.

    Args:
        cpus: 1 or more.
        every: also what lies between all threads on one run and one thread for each.
    """
    yield cpus, 1
    if every:
        yield from ((threads, cpus // threads) for threads in (32, 16, 8, 4, 2) if threads < cpus)
    if cpus > 1:
        yield 1, cpus
