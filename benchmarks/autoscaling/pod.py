"""One pod: a processor with its queue and batches, what it tells Prometheus and metrics-server, and its life."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from benchmarks.autoscaling.request import Request
from deploy.capacity.costs import ServiceCost


@dataclass(slots=True, eq=False)
class Pod:
    """Work in order of arrival on one CPU. Times are seconds of the simulation.

    A model's CPU is shared by decoding and model run; here both are one piece of work, so that everything that waits is
    seen to wait for the model, as it is in the services, where decoding is the faster part.

    Attributes:
        number: unique in its Deployment, ascending by age.
        born: when it was asked for.
        ready: when it takes load.
        running: when its container runs; pending before.
        phase: seconds after a multiple of the scrape interval at which it is looked at.
        gone: when it was told to stop; None: it is wanted.
    """

    number: int
    born: float
    running: float
    ready: float
    phase: int
    gone: float | None = None
    queue: deque[tuple[Request, int]] = field(default_factory=deque)
    busy: bool = False
    held: int = 0
    free: float = 0.0
    assigned: float = 0.0
    in_flight: deque[tuple[float, int]] = field(default_factory=deque)
    used: deque[tuple[float, float]] = field(default_factory=deque)

    def work(self, now: float, seconds: float) -> float:
        """Takes `seconds` of work behind what there is; when it is done."""
        self.free = max(self.free, now) + seconds
        self.assigned += seconds
        return self.free

    def cpu_seconds(self, now: float) -> float:
        """CPU used since the beginning."""
        return self.assigned - max(0.0, self.free - now)

    def take(self, now: float, max_rows: int) -> tuple[list[Request], int, list[Request]]:
        """The next batch as MicroBatcher takes it: whole requests, in order.

        Returns:
            The requests, their rows, and those whose time is up.
        """
        batch: list[Request] = []
        late: list[Request] = []
        rows = 0
        while self.queue and (not batch or rows + self.queue[0][1] <= max_rows):
            request, count = self.queue.popleft()
            if request.deadline <= now:
                late.append(request)
                continue
            batch.append(request)
            rows += count
        return batch, rows, late

    def observe(self, now: float) -> None:
        """What a scrape reads."""
        self.in_flight.append((now, self.held))
        self.used.append((now, self.cpu_seconds(now)))
        while self.in_flight[0][0] < now - 300:
            self.in_flight.popleft()
            self.used.popleft()


def run_seconds(cost: ServiceCost, requests: int, rows: int) -> float:
    """CPU of a batch: the run and what each request costs beside it."""
    return cost.run(rows) + requests * cost.request_seconds
