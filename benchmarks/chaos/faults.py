"""The faults: what is done, for how long, under which load, and what should be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from benchmarks.chaos import actions, judging
from benchmarks.chaos.hostile.action import hostile
from benchmarks.chaos.outcome import Finding, Outcome
from benchmarks.chaos.proxy import Mode
from benchmarks.chaos.stage import Stage
from benchmarks.load.mix import Mix

SERVICES = ("gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface")
MODELS = ("detector", "efficientnet", "arcface")
KEPT = Mix(cached=0.5)
"""Half of the requests are ones that the cache knows."""
HOSTILE, SEED = 100_000, 16
PERIOD = 12.0
"""Seconds in which there are two hundred requests: of fifty the 99th percentile is just the slowest. While a fault
lasts, what was sent before is sent again, at the same distances: many callers at once slow more than many a fault."""
DEADLINE = 1.0
"""Seconds that callers wait, where a fault does not say otherwise."""
Doing = Callable[[Stage], AbstractContextManager[None]]
Judging = Callable[[Outcome], Sequence[Finding]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: for people and for `--only`.
        do: a context in which it is wrong.
        judge: what should be seen.
        seconds: how long it is wrong; entering the context may take longer.
        replicas: of each service, 3 or 1.
        load: as a share of the cluster's capacity.
        mix: of requests.
        deadline: of callers, seconds.
        before: seconds of load that it comes after.
        period: seconds after which the load begins anew, as it was; None: it does not.
        after: seconds of load that follow.
        longest: seconds that entering the context may take; what is sent after the fault ends as much earlier.
        own_clock: whether the processes need a clock that can be set.
        client: whether callers use Ferry's client, which tries again where that is right.
    """

    name: str
    do: Doing
    judge: Judging
    seconds: float = 1.0
    replicas: int = 3
    load: float = 0.6
    mix: Mix = field(default_factory=Mix)
    deadline: float = DEADLINE
    before: float = 4.0
    period: float | None = None
    after: float = 6.0
    longest: float = 0.0
    own_clock: bool = False
    client: bool = True


def faults(inputs: int = HOSTILE, seed: int = SEED) -> list[Fault]:
    """All of them, those on three replicas first.

    Args:
        inputs: how many hostile ones.
        seed: of theirs.
    """
    a, j = actions, judging
    compared: dict[str, Any] = {"seconds": PERIOD, "before": 1.5 * PERIOD, "period": PERIOD}
    found = [Fault(f"kill -9 {service}", partial(a.killed, service=service), j.killed) for service in SERVICES]
    found += [
        Fault("rolling restart", partial(a.restarted_in_turn, services=SERVICES), j.restarted, longest=150),
        Fault("rolling model versions", partial(a.promoted, models=MODELS), j.untouched, longest=60),
        *(
            Fault(f"hung {service}", partial(a.hung, service=service), j.hung, seconds=5)
            for service in (*SERVICES[:3], "classifier-arcface")
        ),
        Fault("slow detector", partial(a.slowed, service="detector"), j.slow, **compared),
        Fault("slow classifier", partial(a.slowed, service="classifier-efficientnet"), j.slow, **compared),
        Fault("new replica", a.added, j.untouched, seconds=1, longest=45),
        Fault("redis killed", _thrice(partial(a.killed, service="valkey")), j.cache, **compared, mix=KEPT),
        Fault("redis cut off", partial(a.redis_is, mode=Mode.CUT), j.cache, **compared, mix=KEPT),
        Fault("redis hangs", partial(a.redis_is, mode=Mode.HANG), j.cache, **compared, mix=KEPT),
        Fault("redis full", a.redis_full, j.cache, **compared, mix=KEPT),
        Fault(
            "redis answers garbage",
            partial(a.redis_is, mode=Mode.GARBAGE),
            j.cache,
            **compared,
            mix=KEPT,
        ),
        Fault("redis replaced by an empty one", _thrice(a.redis_emptied), j.cache, **compared, mix=KEPT),
        Fault("network to a detector cut", partial(a.network, mode=Mode.CUT), j.late, seconds=4),
        Fault("network to a detector hangs", partial(a.network, mode=Mode.HANG), j.late, seconds=4),
        Fault("network to a detector 200 ms late", partial(a.network, delay=0.2), j.late, seconds=4),
        Fault("network to every detector 200 ms late", partial(a.network, delay=0.2, every=True), j.late, seconds=4),
        Fault("no descriptors in a gateway", partial(a.no_descriptors, service="gateway"), j.recovered, seconds=3),
        Fault("no descriptors in a detector", partial(a.no_descriptors, service="detector"), j.recovered, seconds=3),
        Fault("no memory in the detectors", a.no_memory, j.untouched, load=0.3, deadline=10.0, longest=45),
        Fault("disk full", a.disk_full, j.recovered, longest=30),
        Fault("overload 5x", a.nothing, j.overload, seconds=8, load=5.0, after=0.0, client=False),
        Fault("after the overload", a.nothing, j.normal, seconds=0.1, after=4.0),
        Fault(
            "hostile inputs",
            partial(hostile, count=inputs, seed=seed),
            j.untouched,
            load=0.15,
            deadline=10.0,
            longest=1800,
        ),
        Fault("clock jumps", a.clock_jumps, j.untouched, own_clock=True, longest=12),
        Fault("one classifier gone", partial(a.gone, services=("classifier-arcface",)), j.degraded, 4, 1, after=13.0),
        Fault("both classifiers gone", partial(a.gone, services=SERVICES[3:]), j.degraded, 4, 1, after=13.0),
        Fault("detector gone", partial(a.gone, services=("detector",)), j.unavailable, 4, 1, after=13.0),
    ]
    found += [
        Fault(
            f"the only {service} killed, deadline 20 s",
            partial(a.killed, service=service),
            j.untouched,
            replicas=1,
            load=0.3,
            deadline=20.0,
        )
        for service in SERVICES
    ]
    return found


def _thrice(do: Doing) -> Doing:
    """What is over in a moment, over and over for as long as is looked at."""
    return partial(actions.repeated, do=do, times=3, every=PERIOD / 3)


def patient(fault: Fault, deadline: float) -> Fault:
    """The same with callers who wait at least so many seconds."""
    return replace(fault, deadline=max(fault.deadline, deadline))
