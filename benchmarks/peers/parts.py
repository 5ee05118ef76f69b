"""What is measured, part by part: each gives the ratios that it is asked for by itself."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import tracing as spans
from benchmarks.peers import plans
from benchmarks.peers.bench import CLASSIFIER, MANY, Bench, Contender, way_name
from benchmarks.peers.catalogue import PEERS, bare_ways, ways
from benchmarks.peers.environments import python_of
from benchmarks.peers.pictures import faces_in_a_grid
from benchmarks.peers.record import BARE, ECHO, FERRY, FERRY_ALL, OURS, per_second, value
from benchmarks.peers.redis import valkey
from benchmarks.peers.running import Server
from cli.cluster.ports import free
from cli.cluster.settings import DEFAULT_PROCESSES

CACHED_CALLERS = 16
BUSY = 0.8
"""Share of a server's own throughput that an open loop sends."""
FACES = (1, 4, 16, 64)
NAIVE = ("FastAPI + Redis", "1 worker")
"""Server and way of what people build first to keep answers."""
Wanted = Callable[[str], bool]


def images(bench: Bench, precision: str, seconds: float, rounds: int, wanted: Wanted) -> None:
    """Whole images: everybody in every way once, then the best way of each in turns."""
    bench.record.replace("images", precision)
    contenders = bench.everybody(precision, bench.photo, wanted)
    ours = [bench.ferry(precision, *flags) for flags in ferry_ways(bench.cpus)]
    contenders += [contender for contender in ours if wanted(contender.name)]
    if precision != "fp32":
        everything = bench.ferry(precision, everything=True)
        contenders += [everything] if wanted(everything.name) else []
        # What is best in float32 is tried alone: the ways differ by threads and processes, not by arithmetic.
        known = {server: bench.record.best("images", server, "fp32", callers=MANY) for server in _names(contenders)}
        contenders = [c for c in contenders if c.server in OURS | {BARE} or known[c.server] in {None, c.way}]
    expected = _expected(bench, contenders[0])
    loads = [(MANY, seconds), (1, seconds / 2)]
    for contender in contenders:
        bench.visit("images", contender, loads, _answer_of(contender, expected))
    for turn in range(rounds - 1):
        best = [contender for contender in contenders if _is_best(bench, "images", contender)]
        # Who goes first changes, so that nobody always runs on what another has heated.
        for contender in best if turn % 2 else best[::-1]:
            bench.visit("images", contender, loads, _answer_of(contender, expected))


def ferry_ways(cpus: int) -> list[tuple[str, ...]]:
    """`ferry serve` as it is, which is one process, with a process for each service (0), and with one for each CPU."""
    return [(), *(("--processes", str(count)) for count in dict.fromkeys((0, cpus)) if count != DEFAULT_PROCESSES)]


def classifier(bench: Bench, precision: str, seconds: float, rounds: int, wanted: Wanted) -> None:
    """One classifier alone, a crop a request."""
    bench.record.replace("classifier", precision)
    plan = plans.classifier(bench.plan(precision))
    crop = np.random.default_rng(16).integers(0, 256, (plan.crop_size, plan.crop_size, 3), np.uint8).tobytes()
    model = Path(plan.models[0]).parent.name
    contenders = [bench.bare(plan, bare_ways(bench.cpus)[-1], crop)]
    contenders += [
        bench.peer(peer, plan, way, crop) for peer in PEERS if peer.name == "mosec" for way in ways(bench.cpus)
    ]
    contenders.append(bench.ferry_classifier(precision, model, crop))
    for turn in range(rounds):
        for contender in contenders:
            if (contender.server == BARE or wanted(contender.name)) and (
                not turn or _is_best(bench, "classifier", contender)
            ):
                bench.visit("classifier", contender, [(MANY, seconds)])


def cached(bench: Bench, precision: str, seconds: float, rounds: int, wanted: Wanted) -> None:
    """The same image again and again: Ferry, a bare echo, FastAPI with Redis."""
    bench.record.replace("cached")
    loads = [(CACHED_CALLERS, seconds), (1, seconds / 2)]
    with tempfile.TemporaryDirectory(prefix="ferry-peers-") as name:
        folder = Path(name)
        answer = folder / "answer"
        with bench.ferry("fp32").open() as server:
            assert isinstance(server, Server)
            answer.write_bytes(server.response.SerializeToString())

        def echo() -> Server:
            (port,) = free(1)
            command = [sys.executable, "-m", "benchmarks.echo_server", str(port), str(answer)]
            return Server(command, {}, "ferry", port, bench.photo, same=True)

        fastapi = next(peer for peer in PEERS if peer.name == "FastAPI")

        def naive() -> Server:
            python, (port,) = python_of(fastapi, bench.work), free(1)
            command = [str(python), "-m", "benchmarks.peers.servers.fastapi_cached", str(port), f"unix://{socket}"]
            return Server(command, bench.plan("fp32").environment(), "fastapi", port, bench.photo, same=True)

        contenders = [Contender(ECHO, "grpc.aio", precision, echo)]
        contenders += [bench.ferry(precision, *flags, same=True) for flags in ferry_ways(bench.cpus)]
        contenders.append(Contender(*NAIVE, precision, naive))
        with valkey(folder) as socket:
            for _ in range(rounds):
                for contender in contenders:
                    if contender.server == ECHO or wanted(contender.name):
                        bench.visit("cached", contender, loads)


def open_loop(bench: Bench, precision: str, seconds: float, rounds: int, wanted: Wanted) -> None:
    """Requests at Poisson times at 80 % of what each server answers by itself."""
    bench.record.replace("open-loop", precision)
    plan = bench.plan(precision)
    for _ in range(rounds):
        for server in ("mosec", FERRY):
            way = bench.record.best("images", server, precision, callers=MANY)
            if way is None or not wanted(f"{server} {way}"):
                continue
            rate = BUSY * value(bench.record.of("images", server=server, way=way, precision=precision, callers=MANY),
                                per_second)  # fmt: skip
            if server == FERRY:
                contender = bench.ferry(precision, *_flags(bench, way))
            else:
                peer = next(peer for peer in PEERS if peer.name == server)
                contender = bench.peer(peer, plan, next(w for w in ways(bench.cpus) if w.name == way), bench.photo)
            _visit_open(bench, contender, rate, 10 * seconds)  # a thousand requests: the 99th percentile is of ten


def _visit_open(bench: Bench, contender: Contender, rate: float, seconds: float) -> None:
    bench.say(f"open-loop: {contender.server} {contender.way} {contender.precision} at {rate:.1f}/s")
    with bench.noted(contender), contender.open() as server:
        assert isinstance(server, Server)
        server.closed(MANY, 1.0)
        bench.take("open-loop", contender, server, partial(server.opened, rate, seconds), 0, rate=rate)


def faces(bench: Bench, precision: str, seconds: float, rounds: int, wanted: Wanted) -> None:
    """Pictures with more and more faces, by Ferry alone."""
    bench.record.replace("faces", precision)
    way = bench.record.best("images", FERRY, precision, callers=MANY) or "serve"
    for _ in range(rounds):
        for count in FACES:
            contender = bench.ferry(precision, *_flags(bench, way), body=faces_in_a_grid(count))
            bench.say(f"faces: {count}, {contender.way} {precision}")
            with bench.noted(contender), contender.open() as server:
                found = len(server.answer)
                bench.take("faces", contender, server, partial(server.closed, 8, seconds), 8, faces=found)


def tracing(bench: Bench, precision: str, seconds: float, rounds: int, wanted: Wanted) -> None:
    """What tracing 10 % of the calls leaves of the throughput of cached answers."""
    bench.say("tracing")
    (cost,) = spans.measure(bench.models_dir, seconds, 4 * rounds + 1, [spans.CACHED])  # a few per cent are at stake
    bench.record.tracing = cost.ratio


PARTS: dict[str, Callable[[Bench, str, float, int, Wanted], None]] = {
    "images": images,
    "classifier": classifier,
    "cached": cached,
    "open-loop": open_loop,
    "faces": faces,
    "tracing": tracing,
}
BY_PRECISION = ("images", "classifier")
"""Parts that are measured in each precision; the others in float32."""


def names(cpus: int) -> list[str]:
    """Server and way of everybody that may be left out, as `--only` looks for them."""
    found = [f"{peer.name} {way.name}" for peer in PEERS for way in ways(cpus)]
    found += [f"{FERRY} {way_name(*flags)}" for flags in ferry_ways(cpus)]
    return [*found, f"{FERRY_ALL} {way_name()}", f"{FERRY} {CLASSIFIER}", " ".join(NAIVE)]


def _names(contenders: Iterable[Contender]) -> set[str]:
    return {contender.server for contender in contenders}


def _expected(bench: Bench, contender: Contender) -> object:
    with contender.open() as server:
        return server.answer


def _answer_of(contender: Contender, expected: object) -> object:
    """What it is to answer; None: what it finds is judged with all photos (`ferry models evaluate detector`)."""
    return None if contender.server == FERRY_ALL else expected


def _is_best(bench: Bench, part: str, contender: Contender) -> bool:
    return bench.record.best(part, contender.server, contender.precision, callers=MANY) == contender.way


def _flags(bench: Bench, way: str) -> tuple[str, ...]:
    """Ferry's flags of a way that was measured."""
    return next((flags for flags in ferry_ways(bench.cpus) if bench.ferry("fp32", *flags).way == way), ())
