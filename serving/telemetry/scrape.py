"""Reads the Prometheus endpoints of a local cluster and turns them into figures."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
_MARKER = "rpc_server_call_duration_seconds"
_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_LIMIT = 8 << 20
_TIMEOUT = 1.0
MOST_AT_ONCE = 16
"""Endpoints that are asked."""
_MOST_ADDRESSES = 256
"""Of all names together; more processes than that are not looked at."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper bound, as Prometheus exports them."""

    buckets: tuple[tuple[float, float], ...]
    """(upper bound, observations up to it), by rising bound; the last bound is infinite."""
    total: float
    """Sum of the observations."""

    @property
    def count(self) -> float:
        return self.buckets[-1][1] if self.buckets else 0.0

    @property
    def mean(self) -> float | None:
        """None without observations."""
        return self.total / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """Linear within a bucket, as Prometheus' histogram_quantile; the last finite bound for what lies above it."""
        if not self.count:
            return None
        rank, lower, below = q * self.count, 0.0, 0.0
        for upper, up_to in self.buckets:
            if up_to >= rank and up_to > below:
                return lower if upper == float("inf") else lower + (upper - lower) * (rank - below) / (up_to - below)
            if upper != float("inf"):
                lower, below = upper, up_to
        return lower

    def since(self, earlier: Histogram | None) -> Histogram:
        """What was observed after `earlier`; everything where the process has started again in between."""
        if earlier is None or earlier.count > self.count:
            return self
        before = dict(earlier.buckets)
        buckets = tuple((bound, count - before.get(bound, 0.0)) for bound, count in self.buckets)
        return Histogram(buckets, self.total - earlier.total)

    def plus(self, other: Histogram) -> Histogram:
        """Both together; they must have the same bounds."""
        if not self.buckets:
            return other
        counts = dict(other.buckets)
        buckets = tuple((bound, count + counts.get(bound, 0.0)) for bound, count in self.buckets)
        return Histogram(buckets, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one endpoint said at one moment."""

    endpoint: str
    when: float
    """time.monotonic() seconds."""
    values: Mapping[str, Mapping[Labels, float]]
    """Counters and gauges by sample name and sorted labels."""
    histograms: Mapping[str, Mapping[Labels, Histogram]]


def scrape(ports: Sequence[int], host: str = "127.0.0.1") -> list[Scrape]:
    """What the Ferry services among `ports` export now; ports where none answers are left out."""
    endpoints = [f"{host}:{port}" for port in ports]
    if not endpoints:
        return []
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        return scrape_all(endpoints, pool)


def scrape_all(endpoints: Sequence[str], pool: Executor) -> list[Scrape]:
    """As `scrape`, of any `host:port`; of a name, every address that it stands for. They are asked in `pool`."""
    known = [address for found in pool.map(addresses, endpoints) for address in found]
    found = pool.map(fetch, known[:_MOST_ADDRESSES])
    return [parse(endpoint, text) for endpoint, text in found if _MARKER in text]


def check_endpoint(endpoint: str) -> str:
    """`endpoint`, which is `host:port`; the host in brackets where it is an address of IPv6.

    Raises:
        ValueError: it is not.
    """
    known = _ENDPOINT.fullmatch(endpoint)
    if known is None or not 1 <= int(known[1]) <= 65535:
        raise ValueError(f"must be host:port with a port from 1 to 65535, not {endpoint!r}")
    return endpoint


def addresses(endpoint: str) -> list[str]:
    """Every `host:port` that `endpoint` stands for: itself where it is one, none where nobody knows the name."""
    host, _, port = endpoint.rpartition(":")
    try:
        known = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    hosts = dict.fromkeys(str(info[4][0]) for info in known)
    # A name of this machine has two addresses, and one process behind them.
    if host == "localhost":
        return [endpoint]
    return [f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts]


def parse(endpoint: str, text: str) -> Scrape:
    """Reads the Prometheus text format.

    Raises:
        ValueError: it is not in that format.
    """
    values: dict[str, dict[Labels, float]] = {}
    buckets: dict[str, dict[Labels, list[tuple[float, float]]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            bound = labels.pop("le", None)
            key = tuple(sorted(labels.items()))
            if family.type == "histogram" and bound is not None:
                buckets.setdefault(family.name, {}).setdefault(key, []).append((float(bound), sample.value))
            else:
                values.setdefault(sample.name, {})[key] = sample.value
    histograms = {
        name: {
            key: Histogram(tuple(sorted(counts)), values.get(f"{name}_sum", {}).get(key, 0.0))
            for key, counts in series.items()
        }
        for name, series in buckets.items()
    }
    return Scrape(endpoint, time.monotonic(), values, histograms)


def fetch(endpoint: str) -> tuple[str, str]:
    """The endpoint, `host:port`, and its metrics page; empty where none answers, or not to its end."""
    try:
        with _DIRECT.open(f"http://{endpoint}/metrics", timeout=_TIMEOUT) as answer:
            page = answer.read(_LIMIT).decode(errors="replace")
            # Cut off, by the end of the process or by the bound: what is missing would look like what never was.
            return endpoint, "" if answer.length else page
    except (OSError, HTTPException, ValueError):
        return endpoint, ""


# No proxy between this command and its own machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
