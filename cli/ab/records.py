"""What gateways have recorded, read from their Redis: exposures, labels, pairs of shadows, shares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from gateway.experiments import names
from gateway.experiments.record import Exposure, Pair, RecordError, exposure_of, pair_of

_CHUNK = 1000
_TIMEOUT = 10.0
_MOST_BUCKETS = 100 * 86400 // names.BUCKET_SECONDS
"""Gateways keep nothing for longer than 90 days: who asks from 1970 on does not wait for two million empty lists."""
_FADING_MS = 2 * names.BUCKET_SECONDS * 1000
"""An index lives for a bucket's length longer than its newest record, and its oldest is a bucket's length older: with
less than that left, records that are not there any more have had their time."""

RecordT = TypeVar("RecordT")


class RecordsError(Exception):
    """There is nothing to read, or it cannot be read; says what to do."""


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody says a face showed.

    Attributes:
        expression: number of the contract.
        time: Unix time, seconds.
    """

    expression: int
    time: float


@dataclass(frozen=True)
class Records:
    """Of a stretch of time.

    Attributes:
        exposures: by request id.
        labels: by request id, by position of the face.
        pairs: of shadows, oldest first.
        tables: shares by variant, by the name of the routing table.
        lost: records that were written and are no longer there, although their time is not over.
    """

    exposures: dict[str, Exposure]
    labels: dict[str, dict[int, Label]]
    pairs: list[Pair]
    tables: dict[str, dict[str, float]] = field(default_factory=dict)
    lost: int = 0

    @property
    def variants(self) -> list[str]:
        """All that callers fell to or that were shadows, by name."""
        return sorted({one.assigned for one in self.exposures.values()} | {pair.shadow for pair in self.pairs})


def read(url: str, since: float, until: float) -> Records:
    """Everything recorded from `since` to `until`, Unix time in seconds.

    Raises:
        RecordsError: Redis does not answer, or the URL is none.
    """
    try:
        with Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT) as redis:
            return _read(redis, since, until)
    except (RedisError, OSError, ValueError) as error:
        raise RecordsError(f"Redis cannot be read: {error}") from error


def _read(redis: Redis, since: float, until: float) -> Records:
    last = names.bucket(until)
    buckets = range(max(names.bucket(since), last - _MOST_BUCKETS), last + 1)
    found, lost = _records(redis, names.EXPOSURE, buckets, exposure_of)
    exposures = {name: one for name, one in found if since <= one.time <= until}
    copied, lost_pairs = _records(redis, names.PAIR, buckets, pair_of)
    pairs = [pair for _, pair in copied if since <= pair.time <= until]
    pairs.sort(key=lambda pair: pair.time)
    tables = {}
    for table in {one.table for one in exposures.values()}:
        text = redis.get(names.table(table))
        if isinstance(text, bytes):
            tables[table] = json.loads(text)
    return Records(exposures, dict(_labels(redis, buckets)), pairs, tables, lost + lost_pairs)


def _records(
    redis: Redis, kind: str, buckets: Iterable[int], parse: Callable[[bytes], RecordT]
) -> tuple[list[tuple[str, RecordT]], int]:
    """By name, and how many are gone before their time."""
    keys = [names.index(kind, bucket) for bucket in buckets]
    kept: list[tuple[str, RecordT]] = []
    lost = 0
    for found, left in zip(_ask(redis, _listing, keys), _ask(redis, _life, keys), strict=True):
        listed = sorted({name.decode() for name in found})
        for at in range(0, len(listed), _CHUNK):
            part = listed[at : at + _CHUNK]
            for name, value in zip(part, redis.mget([names.record(kind, name) for name in part]), strict=True):
                try:
                    kept.append((name, parse(value if isinstance(value, bytes) else b"")))
                except RecordError:
                    lost += value is not None or left > _FADING_MS
    return kept, lost


def _labels(redis: Redis, buckets: Iterable[int]) -> Iterator[tuple[str, dict[int, Label]]]:
    sets = _ask(redis, lambda pipe, key: pipe.smembers(key), [names.labelled(bucket) for bucket in buckets])
    ids = sorted({name.decode() for found in sets for name in found})
    for at in range(0, len(ids), _CHUNK):
        part = ids[at : at + _CHUNK]
        given = _ask(redis, lambda pipe, key: pipe.hgetall(key), [names.labels(one) for one in part])
        for name, found in zip(part, given, strict=True):
            yield name, {int(face): _label(value) for face, value in found.items()}


def _label(value: bytes) -> Label:
    expression, _, time = value.decode().partition(":")
    return Label(int(expression), float(time))


def _listing(pipe: Pipeline, key: str) -> None:
    pipe.lrange(key, 0, -1)


def _life(pipe: Pipeline, key: str) -> None:
    pipe.pttl(key)


def _ask(redis: Redis, command: Callable[[Pipeline, str], Any], keys: Sequence[str]) -> Iterator[Any]:
    """Answers to many small commands, a thousand a way."""
    for at in range(0, len(keys), _CHUNK):
        pipe = redis.pipeline(transaction=False)
        for key in keys[at : at + _CHUNK]:
            command(pipe, key)
        yield from pipe.execute()
