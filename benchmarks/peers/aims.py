"""The ratios that matter, each with its floor and its aim."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.peers.bench import MANY
from benchmarks.peers.parts import CACHED_CALLERS
from benchmarks.peers.record import (
    BARE,
    ECHO,
    FERRY,
    FERRY_ALL,
    OURS,
    Reading,
    Record,
    cpu,
    memory,
    p50,
    p99,
    per_second,
    value,
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """What came out.

    Attributes:
        name: for people.
        measured: NaN where it was not.
        floor, aim: both as large or as small as `measured` has to be.
        more: whether more is better.
        against: the name of who was compared with.
    """

    name: str
    measured: float
    floor: float
    aim: float
    more: bool
    against: str = ""

    @property
    def verdict(self) -> str:
        """`aim met`, `floor met`, `missed`, or `not measured`."""
        if math.isnan(self.measured):
            return "not measured"
        for limit, said in ((self.aim, "aim met"), (self.floor, "floor met")):
            if (self.measured >= limit) if self.more else (self.measured <= limit):
                return said
        return "missed"


def ratios(record: Record) -> list[Ratio]:
    """All of them, whatever was measured."""
    return [*_images(record), *_classifier(record), *_cached(record), *_ferry(record)]


def best_peer(record: Record, part: str, precision: str) -> tuple[str, str] | None:
    """Server and way of who answers most, Ferry and bare processes aside."""
    found = [
        (server, way)
        for server, way, _ in record.ways(part, precision=precision, callers=MANY)
        if server not in OURS | {BARE}
    ]
    return max(found, key=lambda who: _figure(record, part, who[0], who[1], precision, per_second), default=None)


def _figure(
    record: Record, part: str, server: str, way: str | None, precision: str, get: Callable[[Reading], float],
    callers: int = MANY,
) -> float:  # fmt: skip
    return value(record.of(part, server=server, way=way, precision=precision, callers=callers), get)


def _best(record: Record, part: str, server: str, precision: str, get: Callable[[Reading], float]) -> float:
    """A figure of a server's best way with many callers."""
    way = record.best(part, server, precision, callers=MANY)
    return _figure(record, part, server, way, precision, get)


def _images(record: Record) -> Iterator[Ratio]:
    kinds = [kind for kind in ("fp32", "bf16") if record.of("images", precision=kind, server=FERRY)] or ["fp32"]
    for kind in kinds:
        ours = _best(record, "images", FERRY, kind, per_second)
        bare = record.best("images", BARE, kind, callers=MANY)
        share = ours / _figure(record, "images", BARE, bare, kind, per_second)
        yield Ratio(f"images/s of the best bare, {kind}", share, 0.85, 0.95, True, f"{BARE} {bare or ''}".strip())
        peer = best_peer(record, "images", kind)
        against = _figure(record, "images", *peer, kind, per_second) if peer else math.nan
        yield Ratio(f"images/s of the best peer, {kind}", ours / against, 1.0, 1.1, True, " ".join(peer or ()))
        mosec = _best(record, "images", "mosec", kind, cpu)
        yield Ratio(f"CPU an image of mosec's, {kind}", _best(record, "images", FERRY, kind, cpu) / mosec, 1.05, 0.8,
                    False, "mosec")  # fmt: skip
    peer = best_peer(record, "images", "fp32")
    documented = _figure(record, "images", *peer, "fp32", per_second) if peer else math.nan
    cost = _best(record, "images", FERRY_ALL, "bf16", cpu) / _best(record, "images", "mosec", "bf16", cpu)
    yield Ratio("optimized, CPU an image of mosec's", cost, 1.05, 0.8, False, "mosec")
    ours = _best(record, "images", FERRY_ALL, "bf16", per_second)
    yield Ratio("optimized, of the best fp32 peer", ours / documented, 1.6, 2.2, True, " ".join(peer or ()))
    alone = next((way for server, way, _ in record.ways("images", server=BARE) if way.startswith("1x")), None)
    way = record.best("images", FERRY, "fp32", callers=MANY)
    one = _figure(record, "images", FERRY, way, "fp32", p50, 1)
    bare_one = _figure(record, "images", BARE, alone, "fp32", p50, 1)
    yield Ratio("p50 at one caller, of bare", one / bare_one, 1.2, 1.1, False, f"{BARE} {alone or ''}".strip())
    loop = record.of("open-loop", server=FERRY, precision="fp32")
    yield Ratio("p99 / p50 at 80 %, open loop", value(loop, p99) / value(loop, p50), 2.5, 2, False)


def _classifier(record: Record) -> Iterator[Ratio]:
    kinds = [kind for kind in ("fp32", "bf16") if record.of("classifier", precision=kind)] or ["fp32"]
    for kind in kinds:
        share = _best(record, "classifier", FERRY, kind, per_second) / _best(
            record, "classifier", "mosec", kind, per_second
        )
        yield Ratio(f"classifier of mosec's, {kind}", share, 1.0, 1.1, True, "mosec")


def _cached(record: Record) -> Iterator[Ratio]:
    way = record.best("cached", FERRY, "fp32", callers=CACHED_CALLERS)
    many, one = (
        [
            value(record.of("cached", server=server, callers=callers, **({"way": way} if server == FERRY else {})), get)
            for server in (FERRY, ECHO)
        ]
        for callers, get in ((CACHED_CALLERS, per_second), (1, p50))
    )
    yield Ratio("cached answers/s of the echo", many[0] / many[1], 0.85, 0.95, True, ECHO)
    yield Ratio("cached p50 of the echo", one[0] / one[1], 1.2, 1.1, False, ECHO)
    yield Ratio("cached kept with tracing", math.nan if record.tracing is None else record.tracing, 0.95, 0.98, True)


def _ferry(record: Record) -> Iterator[Ratio]:
    counts = sorted({reading.faces for reading in record.of("faces")})
    costs = [value(record.of("faces", faces=count), cpu) / count for count in counts if count]
    rise = max((after / before for before, after in pairwise(costs)), default=math.nan)
    span = f"{counts[0]} to {counts[-1]} faces" if counts else ""
    yield Ratio("CPU a face, largest rise", rise, 1.1, 1.0, False, span)
    megabytes = _best(record, "images", FERRY, "fp32", memory)
    yield Ratio("memory of the cluster, MB", megabytes, 900, 600, False)
