"""Where a judge reads what gateways count: at the gateways themselves, or in Prometheus."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Protocol

from cli.rollout.judge.reading import COUNTED, LATENCY, PIPELINE, STARTED, Reading, Readings, read
from serving.telemetry.scrape import Histogram, Labels, Scrape, addresses, fetch, parse

_TIMEOUT = 2.0
_LIMIT = 8 << 20
_ASKED = (*COUNTED, PIPELINE)
_STALE_SECONDS = 90.0
"""Age of a scrape from which on it says nothing of now: Prometheus itself goes on giving it for five minutes. Scrapes
come every 15 to 60 s."""
_KEPT = frozenset({"variant", "code", "cache", "le", "fingerprint"})
"""Labels that gateways give: those that Prometheus adds say nothing of what is counted."""
_PROCESS = ("pod", "instance")
"""Labels that name a process, the first that is there."""


class Source(Protocol):
    """One of those below."""

    def read(self) -> Readings:
        """What can be read now; what cannot is named in it."""
        ...


class Gateways:
    """Every address behind each name, asked at once."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        """
        Args:
            endpoints: host:port of metrics; a name stands for all its addresses.
        """
        self._addresses = tuple(endpoints)
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="metrics")

    def read(self) -> Readings:
        found: list[str] = []
        missing: list[str] = []
        for address in self._addresses:
            known = addresses(address)
            found += known
            if not known:
                missing.append(address)
        readings = {}
        for endpoint, text in self._pool.map(fetch, found):
            try:
                if not text:
                    raise ValueError("no answer")
                scrape = parse(endpoint, text)
                if not scrape.values.keys() & {*COUNTED, PIPELINE}:
                    missing.append(f"{endpoint} (is no gateway's: it counts no variants)")
                    continue
                readings[endpoint] = read(scrape)
            except ValueError:
                missing.append(endpoint)
        return Readings(readings, tuple(missing))


@dataclass(frozen=True, slots=True)
class _Series:
    """Attributes:
    process: whose it is.
    job: of Prometheus, and the container where there is one: tells gateways from others.
    labels: those that say what is counted.
    value: at `at`.
    at: when it was asked for, Unix time in seconds by Prometheus' clock.
    """

    process: str
    job: tuple[str, str]
    labels: Labels
    value: float
    at: float


class Prometheus:
    """The same series, from a Prometheus that scrapes the gateways; its answers are as old as its last scrape.

    A gateway that it cannot scrape any more is named as missing, by the series `up` of its job.
    """

    def __init__(self, url: str, namespace: str = "") -> None:
        """
        Args:
            url: such as http://prometheus.monitoring:9090.
            namespace: of the gateways; empty: whatever is there.
        """
        self._url = url.rstrip("/")
        self._jobs: set[tuple[str, str]] = set()
        self._selector = f'{{namespace="{namespace}"}}' if namespace else ""

    def read(self) -> Readings:
        try:
            counters = {name: self._ask(name + self._selector) for name in _ASKED}
            buckets = self._ask(f"{LATENCY}_bucket{self._selector}")
            up = self._ask(f"up{self._selector}")
            scraped = self._ask(f"timestamp(up{self._selector})")
            started = self._ask(STARTED + self._selector)
        except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Readings({}, (f"{self._url} {_cannot(error)}",))
        values: dict[str, dict[str, dict[Labels, float]]] = {}
        for name, series in counters.items():
            for one in series:
                values.setdefault(one.process, {}).setdefault(name, {})[one.labels] = one.value
        found: dict[str, dict[Labels, list[tuple[float, float]]]] = {}
        for one in started:
            if one.process in values:
                values[one.process][STARTED] = {one.labels: one.value}
        for one in buckets:
            kept = tuple(pair for pair in one.labels if pair[0] != "le")
            found.setdefault(one.process, {}).setdefault(kept, []).append((float(dict(one.labels)["le"]), one.value))
        self._jobs |= {one.job for series in counters.values() for one in series}
        gateways = [one for one in up if one.job in self._jobs]
        missing = {one.process: f"{one.process} (Prometheus cannot scrape it)" for one in gateways if not one.value}
        for one in scraped:
            if one.job in self._jobs and one.at - one.value > _STALE_SECONDS:
                missing[one.process] = f"{one.process} (not scraped for {one.at - one.value:.0f} s)"
        alive = {}
        for process in values.keys() - missing.keys():
            try:
                alive[process] = self._reading(process, values, found)
            except ValueError as error:
                missing[process] = f"{process} ({error})"
        if not alive and not missing:
            return Readings({}, (f"{self._url} knows none",))
        return Readings(alive, tuple(missing[process] for process in sorted(missing)))

    @staticmethod
    def _reading(
        process: str,
        values: dict[str, dict[str, dict[Labels, float]]],
        buckets: dict[str, dict[Labels, list[tuple[float, float]]]],
    ) -> Reading:
        histograms = {labels: Histogram(tuple(sorted(b)), 0.0) for labels, b in buckets.get(process, {}).items()}
        return read(Scrape(process, time.monotonic(), values[process], {LATENCY: histograms}))

    def _ask(self, query: str) -> list[_Series]:
        url = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  (a Prometheus)
            document: Any = json.loads(answer.read(_LIMIT))
        series = []
        for one in document["data"]["result"]:
            labels = dict(one["metric"])
            process = next((labels[name] for name in _PROCESS if name in labels), "")
            kept = tuple(sorted((name, value) for name, value in labels.items() if name in _KEPT))
            job = labels.get("job", ""), labels.get("container", "")
            series.append(_Series(process, job, kept, float(one["value"][1]), float(one["value"][0])))
        return series


def _cannot(error: Exception) -> str:
    """What keeps a Prometheus from being read, in words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answers {error.code} {error.reason}"
    if isinstance(error, OSError | HTTPException):
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        return f"cannot be asked: {getattr(cause, 'strerror', None) or cause or type(cause).__name__}"
    return "does not answer as a Prometheus does"
