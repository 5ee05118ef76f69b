"""Real service processes for tests: started, watched and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.cluster import ports

ROOT = Path(__file__).parent.parent
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


_given: set[int] = set()


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens, and which this process is given once.

    Out of the range from which Linux gives ports to outgoing connections and to whoever binds port 0, so that nothing
    gets it before the service that it is meant for, however long that takes to start.
    """
    port = next(port for port in ports.free(len(_given) + 1) if port not in _given)
    _given.add(port)
    return port


def until(condition: Callable[[], bool], seconds: float = 60, what: str = "the condition", pause: float = 0.02) -> None:
    """Asks every `pause` seconds until `condition` holds.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true within {seconds} s")
        time.sleep(pause)


def health(port: int, service: str = "") -> int:
    """What grpc.health.v1 says of `service`; 0 (UNKNOWN) while nobody listens."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)
        except grpc.RpcError:
            return 0


@contextmanager
def process(arguments: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`python ARGUMENTS` in the repository's root with stderr captured; killed at the end if it still runs."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FERRY_")}
    started = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGKILL)
        started.wait(30)
        if started.stderr is not None:
            started.stderr.close()


def outcome(arguments: Sequence[str], seconds: float = 60, **environment: str) -> tuple[int, str]:
    """Exit code and standard error of a process that ends by itself."""
    with process(arguments, **environment) as started:
        _, errors = started.communicate(timeout=seconds)
        return started.returncode, errors
