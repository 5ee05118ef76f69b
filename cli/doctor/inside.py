"""What a pod says of itself: a few lines of Python, run in it, that ask its metrics, its certificate and its Redis.

A pod is asked from within since network policies keep everybody else away, and since only there Redis is reached as
the gateway reaches it. Nothing that is secret is printed.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from cli.rollout.errors import RolloutError
from cli.rollout.kubectl import Kubectl

_PROGRAM = """
import json, os, socket, ssl, time, urllib.request
said = {"time": time.time()}
try:
    where = "http://localhost:" + os.environ.get("FERRY_METRICS_PORT", "9090") + "/metrics"
    wanted = ("ferry_model_info{", "ferry_model_load_failures{", "ferry_gateway_able ", "ferry_variant_healthy{")
    text = urllib.request.urlopen(where, timeout=5).read().decode()
    said["metrics"] = [line for line in text.splitlines() if line.startswith(wanted)]
except Exception as error:
    said["metrics_error"] = str(error)
if os.environ.get("FERRY_TLS_CERT"):
    try:
        context = ssl.create_default_context(cafile=os.environ.get("FERRY_TLS_CA"))
        context.check_hostname = False
        context.load_cert_chain(os.environ["FERRY_TLS_CERT"], os.environ["FERRY_TLS_KEY"])
        context.set_alpn_protocols(["h2"])
        with socket.create_connection(("localhost", int(os.environ["FERRY_PORT"])), timeout=5) as plain:
            with context.wrap_socket(plain) as served:
                found = served.getpeercert()
        said["certificate"] = {k: ssl.cert_time_to_seconds(found[k]) for k in ("notBefore", "notAfter")}
    except Exception as error:
        said["certificate_error"] = str(error)
if os.environ.get("FERRY_REDIS_URL"):
    try:
        import redis
        url = os.environ["FERRY_REDIS_URL"]
        redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3).ping()
        said["redis"] = ""
    except Exception as error:
        said["redis"] = type(error).__name__
print(json.dumps(said))
"""
_SERIES = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Inside:
    """
    Attributes:
        error: why the pod could not be asked; empty: it was.
        skew: seconds by which its clock is ahead of this machine's.
        unsure: half the time that asking took, which is how much `skew` may be off.
        series: of metrics that matter here: name, labels, value.
        certificate: seconds since 1970 of the beginning and the end of what it serves; None: it serves without TLS.
        certificate_error: why its own certificate does not hold.
        redis: why Redis does not answer; empty: it does; None: the pod has none.
    """

    error: str = ""
    skew: float = 0.0
    unsure: float = 0.0
    series: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    certificate: tuple[float, float] | None = None
    certificate_error: str = ""
    redis: str | None = None

    def values(self, metric: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of a metric."""
        return [(labels, value) for name, labels, value in self.series if name == metric]


def look_inside(kubectl: Kubectl, pod: str) -> Inside:
    """Asks one pod; what goes wrong is part of the answer."""
    began = time.time()
    try:
        text = kubectl.read("exec", pod, "--container", "ferry", "--", "python", "-c", _PROGRAM)
        took = time.time() - began
        return understood(json.loads(text), began + took / 2, took / 2)
    except RolloutError as error:
        return Inside(error=str(error))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Inside(error=f"its answer is not understood: {error}")


def understood(said: dict[str, Any], now: float, unsure: float) -> Inside:
    """
    Args:
        said: what the program prints.
        now: this machine's clock in the middle of asking.
        unsure: seconds by which the pod may have looked at its clock before or after that.
    """
    certificate = said.get("certificate")
    return Inside(
        error=f"its metrics cannot be read: {said['metrics_error']}" if "metrics_error" in said else "",
        skew=float(said["time"]) - now,
        unsure=unsure,
        series=[_series(line) for line in said.get("metrics", [])],
        certificate=None if certificate is None else (certificate["notBefore"], certificate["notAfter"]),
        certificate_error=said.get("certificate_error", ""),
        redis=said.get("redis"),
    )


def _series(line: str) -> tuple[str, dict[str, str], float]:
    found = _SERIES.fullmatch(line.strip())
    if found is None:
        raise ValueError(line)
    return found["name"], dict(_LABEL.findall(found["labels"] or "")), float(found["value"])
