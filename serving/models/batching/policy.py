"""What a micro-batcher may do at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """The bounds of a micro-batcher.

    Attributes:
        max_batch: rows in one run.
        max_wait: seconds that a busy model's next batch may wait to fill; an idle model never waits.
        max_queue: requests that may wait; one more is refused.
        concurrency: runs at the same time.
        threads: CPUs of one run.
        company: rows up to which each is much cheaper in a run with others; 1: it makes no difference.
    """

    max_batch: int = 16
    max_wait: float = 0.0
    max_queue: int = 256
    concurrency: int = 1
    threads: int = 1
    company: int = 1
