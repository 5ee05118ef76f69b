"""The faults: what is done, for how long, under which load, and what should be seen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import psutil

from benchmarks.chaos.outcome import (
    ANSWERED,
    GOOD,
    Finding,
    Outcome,
    all_in_time,
    amplification,
    back_within,
    errors_end_within,
    none_failed,
    p99,
    p99_at_most,
)
from benchmarks.chaos.proxy import Mode
from benchmarks.chaos.signals import kept_dead, send, slow
from benchmarks.chaos.stage import Stage
from benchmarks.load.mix import Mix

DEADLINE = 1.0
"""Seconds that callers wait, where a fault does not say otherwise."""
SERVICES = ("gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface")
KEPT = Mix(cached=0.5)
"""Half of the requests are ones that the cache knows."""
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
        after: seconds of load that follow.
    """

    name: str
    do: Doing
    judge: Judging
    seconds: float = 1.0
    replicas: int = 3
    load: float = 0.6
    mix: Mix = field(default_factory=Mix)
    deadline: float = DEADLINE
    after: float = 6.0


@contextmanager
def killed(stage: Stage, service: str) -> Iterator[None]:
    """One replica, by kill -9; it is started again as it always is."""
    stage.kill(service)
    yield


@contextmanager
def restarted_in_turn(stage: Stage, services: Sequence[str]) -> Iterator[None]:
    """Each replica by SIGTERM, the next one when everything is ready again."""
    for service in services:
        for replica in range(len(stage.members(service))):
            pid = stage.kill(service, signal.SIGTERM, replica)
            give_up = time.monotonic() + 60
            while psutil.pid_exists(pid) and time.monotonic() < give_up:
                time.sleep(0.05)
            stage.settle()
    yield


@contextmanager
def hung(stage: Stage, service: str) -> Iterator[None]:
    """One replica stands still."""
    pid = stage.kill(service, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pid, signal.SIGCONT)


@contextmanager
def slowed(stage: Stage, service: str) -> Iterator[None]:
    """One replica has a fifth of its time."""
    with slow(stage.pids(service)[0], 5):
        yield


@contextmanager
def gone(stage: Stage, services: Sequence[str]) -> Iterator[None]:
    """Every replica dies, and dies again."""
    with kept_dead(lambda: [pid for service in services for pid in stage.pids(service)]):
        yield


@contextmanager
def redis_is(stage: Stage, mode: Mode) -> Iterator[None]:
    """Redis cut off, hanging, or answering garbage."""
    stage.redis.mode = mode
    try:
        yield
    finally:
        stage.redis.mode = Mode.PASS


@contextmanager
def redis_emptied(stage: Stage) -> Iterator[None]:
    """As one is that takes another's place."""
    stage.flush()
    yield


@contextmanager
def network(stage: Stage, mode: Mode = Mode.PASS, delay: float = 0.0, every: bool = False) -> Iterator[None]:
    """Between ensemblers and one detector, or every one."""
    proxies = list(stage.detectors.values())[: None if every else 1]
    for proxy in proxies:
        proxy.delay, proxy.mode = delay, mode
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.delay, proxy.mode = 0.0, Mode.PASS


@contextmanager
def no_descriptors(stage: Stage) -> Iterator[None]:
    """The gateway may open nothing more than it has open."""
    process = psutil.Process(stage.pids("gateway")[0])
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


@contextmanager
def nothing(stage: Stage) -> Iterator[None]:
    """The load itself is the fault."""
    yield


def _killed(outcome: Outcome) -> list[Finding]:
    return [none_failed(outcome), back_within(outcome, 2, outcome.began), amplification(outcome)]


def _degraded(outcome: Outcome) -> list[Finding]:
    during = outcome.between(outcome.began + 0.5, outcome.ended)
    seen = sum(code == "DEGRADED" for _, _, code in during)
    late = [code for _, _, code in outcome.between(outcome.ended + 3) if code not in GOOD]
    return [
        none_failed(outcome),
        Finding("answers are marked degraded meanwhile", seen >= 0.9 * len(during), f"{seen} of {len(during)}"),
        Finding("complete answers within 3 s after", not late, f"{len(late)} were not"),
    ]


def _unavailable(outcome: Outcome) -> list[Finding]:
    during = outcome.between(outcome.began + 0.5, outcome.ended - 0.5)
    clear = sum(code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"} for _, _, code in during)
    late = [code for _, _, code in outcome.between(outcome.ended + 4) if code not in ANSWERED]
    return [
        Finding("a clear error meanwhile", clear >= 0.95 * len(during), f"{clear} of {len(during)}; {outcome.codes()}"),
        all_in_time(outcome, DEADLINE),
        Finding("answers within 4 s after", not late, f"{len(late)} were not"),
    ]


def _redis(outcome: Outcome) -> list[Finding]:
    return [none_failed(outcome), p99_at_most(outcome, extra_ms=10)]


def _overload(outcome: Outcome) -> list[Finding]:
    during = outcome.between(2, outcome.ended)
    good = sum(code in ANSWERED for _, _, code in during) / max(outcome.ended - 2, 1e-9)
    refused = sorted(took * 1000 for _, took, code in during if code == "RESOURCE_EXHAUSTED")
    median = refused[len(refused) // 2] if refused else float("nan")
    share = good / outcome.capacity
    return [
        Finding("goodput at least 90 % of the peak", share >= 0.9, f"{good:.1f}/s of {outcome.capacity:.1f}/s"),
        Finding("rejections within 50 ms", median <= 50, f"{len(refused)}, median {median:.0f} ms; {outcome.codes()}"),
        all_in_time(outcome, DEADLINE),
    ]


def _late(outcome: Outcome) -> list[Finding]:
    return [all_in_time(outcome, DEADLINE), errors_end_within(outcome, outcome.ended - outcome.began + 2)]


def _slow(outcome: Outcome) -> list[Finding]:
    return [none_failed(outcome), p99_at_most(outcome, 2.0)]


def _descriptors(outcome: Outcome) -> list[Finding]:
    late = [code for _, _, code in outcome.between(outcome.ended + 1) if code not in ANSWERED]
    return [
        none_failed(outcome),
        Finding("answers after", not late and p99(list(outcome.events)) > 0, f"{len(late)} not"),
    ]


def _hung(outcome: Outcome) -> list[Finding]:
    return [errors_end_within(outcome, 1), all_in_time(outcome, DEADLINE)]


def faults() -> list[Fault]:
    """All of them, those on three replicas first."""
    found = [Fault(f"kill -9 {service}", partial(killed, service=service), _killed) for service in SERVICES]
    found += [
        Fault("rolling restart", partial(restarted_in_turn, services=SERVICES[1:]), lambda o: [none_failed(o)]),
        Fault("hung detector", partial(hung, service="detector"), _hung, seconds=5),
        Fault("hung classifier", partial(hung, service="classifier-arcface"), _hung, seconds=5),
        Fault("hung ensembler", partial(hung, service="ensembler"), _hung, seconds=5),
        Fault("slow detector", partial(slowed, service="detector"), _slow, seconds=8),
        Fault("slow classifier", partial(slowed, service="classifier-efficientnet"), _slow, seconds=8),
        Fault("redis cut off", partial(redis_is, mode=Mode.CUT), _redis, seconds=4, mix=KEPT),
        Fault("redis hangs", partial(redis_is, mode=Mode.HANG), _redis, seconds=4, mix=KEPT),
        Fault("redis answers garbage", partial(redis_is, mode=Mode.GARBAGE), _redis, seconds=4, mix=KEPT),
        Fault("redis replaced by an empty one", redis_emptied, _redis, seconds=2, mix=KEPT),
        Fault("network to a detector cut", partial(network, mode=Mode.CUT), _late, seconds=4),
        Fault("network to a detector hangs", partial(network, mode=Mode.HANG), _late, seconds=4),
        Fault("network to a detector 200 ms late", partial(network, delay=0.2), _late, seconds=4),
        Fault("no descriptors in the gateway", no_descriptors, _descriptors, seconds=3),
        Fault("overload 5x", nothing, _overload, seconds=6, load=5.0, after=0.0),
        Fault("after the overload", nothing, lambda o: [_normal(o)], seconds=0.1, after=4.0),
        Fault("one classifier gone", partial(gone, services=("classifier-arcface",)), _degraded, 4, 1),
        Fault("both classifiers gone", partial(gone, services=SERVICES[3:]), _degraded, 4, 1),
        Fault("detector gone", partial(gone, services=("detector",)), _unavailable, 4, 1),
        Fault("the only detector killed, deadline 20 s", partial(killed, service="detector"),
              lambda o: [none_failed(o)], 1, 1, 0.3, deadline=20.0),
        Fault("the only gateway killed, deadline 20 s", partial(killed, service="gateway"),
              lambda o: [none_failed(o)], 1, 1, 0.3, deadline=20.0),
    ]  # fmt: skip
    return found


def _normal(outcome: Outcome) -> Finding:
    slowest = p99(outcome.between(0))
    return Finding("normal latency 3 s after", slowest < 1000 and not outcome.failed, f"p99 {slowest:.0f} ms")
