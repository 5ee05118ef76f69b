"""What gateways have recorded, read from their Redis: exposures, labels, pairs of shadows, shares."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from gateway.experiments import names
from gateway.experiments.record import EXPRESSIONS, Exposure, Pair, RecordError, exposure_of, pair_of

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
        foreign: entries that are no records, or those of another version of Ferry.
    """

    exposures: dict[str, Exposure]
    labels: dict[str, dict[int, Label]]
    pairs: list[Pair]
    tables: dict[str, dict[str, float]] = field(default_factory=dict)
    lost: int = 0
    foreign: int = 0

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
            return _Reader(redis).read(since, until)
    except (RedisError, OSError, ValueError) as error:
        raise RecordsError(f"Redis cannot be read: {error}") from error


class _Reader:
    """One look at a Redis. What lies there under Ferry's names and is none of its records is counted and left out."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lost = 0
        self._foreign = 0

    def read(self, since: float, until: float) -> Records:
        last = names.bucket(until)
        buckets = range(max(names.bucket(since), last - _MOST_BUCKETS), last + 1)
        found = self._records(names.EXPOSURE, buckets, exposure_of)
        exposures = {name: one for name, one in found if since <= one.time <= until}
        pairs = [pair for _, pair in self._records(names.PAIR, buckets, pair_of) if since <= pair.time <= until]
        pairs.sort(key=lambda pair: pair.time)
        tables = dict(self._tables(sorted({one.table for one in exposures.values()})))
        labels = dict(self._labels(buckets))
        return Records(exposures, labels, pairs, tables, self._lost, self._foreign)

    def _records(
        self, kind: str, buckets: Iterable[int], parse: Callable[[bytes], RecordT]
    ) -> Iterator[tuple[str, RecordT]]:
        """By name."""
        keys = [names.index(kind, bucket) for bucket in buckets]
        for found, left in zip(self._ask(_listing, keys), self._ask(_life, keys), strict=True):
            listed = self._words(found or ())
            for at in range(0, len(listed), _CHUNK):
                part = listed[at : at + _CHUNK]
                values = self._redis.mget([names.record(kind, name) for name in part])
                for name, value in zip(part, values, strict=True):
                    if not isinstance(value, bytes):
                        self._lost += left > _FADING_MS
                        continue
                    try:
                        yield name, parse(value)
                    except RecordError:
                        self._foreign += 1

    def _labels(self, buckets: Iterable[int]) -> Iterator[tuple[str, dict[int, Label]]]:
        sets = self._ask(lambda pipe, key: pipe.smembers(key), [names.labelled(bucket) for bucket in buckets])
        ids = self._words(name for found in sets for name in found or ())
        given = self._ask(lambda pipe, key: pipe.hgetall(key), [names.labels(one) for one in ids])
        for name, found in zip(ids, given, strict=True):
            labels = {}
            for face, value in (found or {}).items():
                try:
                    labels[_position(face)] = _label(value)
                except ValueError:
                    self._foreign += 1
            yield name, labels

    def _tables(self, wanted: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
        texts = self._ask(lambda pipe, key: pipe.get(key), [names.table(name) for name in wanted])
        for name, text in zip(wanted, texts, strict=True):
            if text is None:
                continue
            try:
                yield name, _shares(text)
            except ValueError:
                self._foreign += 1

    def _words(self, found: Iterable[bytes]) -> list[str]:
        """Names, each once, in order."""
        words = set()
        for one in found:
            try:
                words.add(one.decode())
            except UnicodeDecodeError:
                self._foreign += 1
        return sorted(words)

    def _ask(self, command: Callable[[Pipeline, str], Any], keys: Sequence[str]) -> Iterator[Any]:
        """Answers to many small commands, a thousand a way; None for a key of another type."""
        for at in range(0, len(keys), _CHUNK):
            pipe = self._redis.pipeline(transaction=False)
            for key in keys[at : at + _CHUNK]:
                command(pipe, key)
            for answer in pipe.execute(raise_on_error=False):
                if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
                    self._foreign += 1
                    yield None
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    yield answer


def _position(value: bytes) -> int:
    """Raises ValueError where it is none."""
    if not value.isdigit():
        raise ValueError("no position of a face")
    return int(value)


def _label(value: bytes) -> Label:
    """Raises ValueError where it is none."""
    expression, _, time = value.decode().partition(":")
    label = Label(int(expression), float(time))
    if label.expression not in EXPRESSIONS or not math.isfinite(label.time):
        raise ValueError("no label")
    return label


def _shares(text: bytes) -> dict[str, float]:
    """Raises ValueError where they are none."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("no shares") from error
    if not isinstance(found, dict):
        raise ValueError("no shares")
    shares = {name: share for name, share in found.items() if isinstance(share, int | float) and 0 <= share <= 1}
    if len(shares) < len(found) or not shares or not 0.99 < sum(shares.values()) < 1.01:
        raise ValueError("no shares")
    return shares


def _listing(pipe: Pipeline, key: str) -> None:
    pipe.lrange(key, 0, -1)


def _life(pipe: Pipeline, key: str) -> None:
    pipe.pttl(key)
