"""What is done to a cluster: each a context in which something is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import psutil

from benchmarks.chaos import disk
from benchmarks.chaos.counters import scrape, versions
from benchmarks.chaos.large import Large
from benchmarks.chaos.outcome import Finding
from benchmarks.chaos.proxy import Mode
from benchmarks.chaos.signals import kept_dead, send, slow
from benchmarks.chaos.stage import BY_NAME, READY_SECONDS, Stage
from cli.cluster.supervisor import Supervisor, Timing

HOUR = 3600.0
MEMORY_LEFT = 48 << 20
"""Bytes of address space that a limited process may still take: a photo of 2 megapixels, and none of 24."""


@contextmanager
def nothing(stage: Stage) -> Iterator[None]:
    """The load itself is the fault."""
    yield


@contextmanager
def killed(stage: Stage, service: str) -> Iterator[None]:
    """One replica, by kill -9; it is started again as it always is."""
    stage.kill(service)
    yield


@contextmanager
def repeated(
    stage: Stage, do: Callable[[Stage], AbstractContextManager[None]], times: int, every: float
) -> Iterator[None]:
    """What is over in a moment, so many times, so many seconds apart."""
    for _ in range(times - 1):
        with do(stage):
            time.sleep(every)
    with do(stage):
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
def promoted(stage: Stage, models: Sequence[str]) -> Iterator[None]:
    """One model after the other has a new version, which every replica takes over."""
    for name in models:
        folder = stage.models / name
        labels = json.loads((folder / "labels.json").read_text())
        old, new = labels["stable"], str(max(int(p.name) for p in folder.iterdir() if p.name.isdigit()) + 1)
        shutil.copytree(folder / old, folder / f".{new}")
        manifest = json.loads((folder / f".{new}" / "manifest.json").read_text())
        (folder / f".{new}" / "manifest.json").write_text(json.dumps(manifest | {"version": new}))
        (folder / f".{new}").rename(folder / new)
        (folder / "labels.new").write_text(json.dumps({"stable": new, "history": [*labels["history"], old]}))
        (folder / "labels.new").rename(folder / "labels.json")
        serving = [m.spec.metrics for m in stage.members(name if name == "detector" else f"classifier-{name}")]
        give_up = time.monotonic() + 60
        while any(new not in found for found in versions(serving, name)):
            if time.monotonic() > give_up:
                stage.notes.append(Finding(f"{name} {new} is served everywhere", False, "not after 60 s"))
                break
            time.sleep(0.5)
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
def added(stage: Stage) -> Iterator[None]:
    """One more replica starts, and its address joins those behind the name when it is ready. Notes its share."""
    logs = stage.folder / "added"
    logs.mkdir(exist_ok=True)
    supervisor = Supervisor([stage.spare], logs, Timing(startup=READY_SECONDS, drain=10))
    supervisor.start()
    before = list(stage.names.addresses)
    endpoints = {m.spec.name: m.spec.metrics for m in stage.members(BY_NAME)} | {stage.spare.name: stage.spare.metrics}
    try:
        stage.names.addresses = [*before, stage.spare.address.rpartition(":")[0]]
        time.sleep(5)
        first = scrape(endpoints)
        time.sleep(6)
        last = scrape(endpoints)
        calls = {name: sum(last[name].values()) - sum(first[name].values()) for name in endpoints}
        fair = sum(calls.values()) / len(calls)
        share = calls[stage.spare.name] / fair if fair else 0.0
        stage.notes.append(Finding("80 % of its fair share after 5 s", share >= 0.8, f"{share:.0%}"))
        yield
    finally:
        stage.names.addresses = before
        time.sleep(2)
        supervisor.stop()


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
    from redis import Redis

    with Redis(unix_socket_path=str(stage.socket)) as client:
        client.flushall()
    yield


@contextmanager
def redis_full(stage: Stage) -> Iterator[None]:
    """It refuses to keep anything more, and throws nothing away."""
    from redis import Redis

    with Redis(unix_socket_path=str(stage.socket)) as client:
        before = {name: client.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy")}
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


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
def no_descriptors(stage: Stage, service: str) -> Iterator[None]:
    """One replica may open nothing more than it has open."""
    with _limited(stage.pids(service)[:1], psutil.RLIMIT_NOFILE, lambda process: process.num_fds()):
        yield


@contextmanager
def no_memory(stage: Stage) -> Iterator[None]:
    """No detector may take much more memory than it has, while large pictures come."""
    pids = stage.pids("detector")
    with Large(stage.address) as large:
        with _limited(pids, psutil.RLIMIT_AS, lambda process: process.memory_info().vms + MEMORY_LEFT):
            codes = large.ask(6)
            clear = set(codes) <= {"OK", "RESOURCE_EXHAUSTED"}
            stage.notes.append(Finding("a large picture gets an answer or a clear error", clear, ", ".join(codes)))
            yield
        stage.notes.append(Finding("nobody dies", stage.pids("detector") == pids, "of the detectors"))
        after = large.ask(3)
        stage.notes.append(Finding("large pictures are answered after", set(after) == {"OK"}, ", ".join(after)))


@contextmanager
def _limited(pids: Sequence[int], what: int, limit: Callable[[psutil.Process], int]) -> Iterator[None]:
    with ExitStack() as stack:
        for pid in pids:
            process = psutil.Process(pid)
            before = process.rlimit(what)
            process.rlimit(what, (limit(process), before[1]))
            stack.callback(process.rlimit, what, before)
        yield


@contextmanager
def disk_full(stage: Stage) -> Iterator[None]:
    """Where logs, caches and temporary files go, nothing more fits; two services have to start meanwhile."""
    if stage.disk is None:
        stage.notes.append(Finding("there is a small disk to fill", False, "needs root; nothing was tried"))
        yield
        return
    with disk.full(stage.disk):
        stage.kill("detector")
        stage.kill("ensembler")
        time.sleep(1)
        stage.settle(60)
        yield


@contextmanager
def clock_jumps(stage: Stage) -> Iterator[None]:
    """An hour ahead, then an hour behind, then right again."""
    assert stage.clock is not None
    for seconds in (HOUR, -HOUR, 0.0):
        stage.clock.jump(seconds)
        time.sleep(1.5)
    yield
