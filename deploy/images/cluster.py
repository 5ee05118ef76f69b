"""Ferry from its images: starts it, waits for it, looks at it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.images.manifests import Pod
from deploy.images.podman import Podman
from deploy.images.process import Process, process
from deploy.images.tool import ImagesError

_INTERVAL = 1.0
_ANSWER = 5.0


def wait(podman: Podman, deadline: float) -> float:
    """Until every pod is healthy.

    Args:
        podman: with its pods up.
        deadline: seconds.

    Returns:
        How many it took.

    Raises:
        ImagesError: a pod has ended, or was not healthy in time; with the last lines of its log.
    """
    started = time.monotonic()
    waiting = list(podman.pods)
    while waiting:
        for pod in list(waiting):
            podman.pid(pod)
            if healthy(podman.address(pod), pod.health):
                waiting.remove(pod)
        if waiting and time.monotonic() - started > deadline:
            logs = "\n".join(f"{pod.name}:\n{podman.log(pod)}" for pod in waiting)
            raise ImagesError(f"not healthy after {deadline:.0f} s:\n{logs}")
        if waiting:
            time.sleep(_INTERVAL)
    return time.monotonic() - started


def healthy(address: str, service: str | None) -> bool:
    """What kubelet would find: the named gRPC health service is SERVING or, without a name, the port is open."""
    if service is None:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER).close()
        except OSError:
            return False
        return True
    # A connection of its own for each question: a channel that has failed waits before it tries again.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]) as c:
        try:
            check = health_pb2_grpc.HealthStub(c).Check  # type: ignore[attr-defined]
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=_ANSWER)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def keys(address: str) -> int:
    """Entries of the Redis at `address`."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=_ANSWER) as connection:
        connection.sendall(b"*1\r\n$6\r\nDBSIZE\r\n")
        answer = connection.recv(64)
    return int(answer.removeprefix(b":"))


def look(podman: Podman) -> dict[str, Process]:
    """What the kernel says of every pod's process, by name.

    Raises:
        ImagesError: a process has ended, or is not confined as its manifest says.
    """
    seen = {pod.name: process(podman.pid(pod), Path("/proc")) for pod in podman.pods}
    problems = [f"{pod.name}: {problem}" for pod in podman.pods for problem in unconfined(pod, seen[pod.name])]
    if problems:
        raise ImagesError("\n".join(problems))
    return seen


def unconfined(pod: Pod, seen: Process) -> list[str]:
    """How a process differs from what the manifests say."""
    wrong = {
        "runs as root": seen.user == 0,
        "has capabilities": seen.capabilities != 0,
        "may gain privileges": seen.can_gain_privileges,
        "has no seccomp filter": not seen.filtered,
        "can write to its root": not seen.read_only_root,
        f"has a memory limit of {seen.memory_limit}, not {pod.memory}": seen.memory_limit != pod.memory,
        f"has a limit of {seen.cpu_limit} CPUs, not {pod.cpus}": seen.cpu_limit != pod.cpus,
    }
    return [problem for problem, holds in wrong.items() if holds]


def memory_rows(podman: Podman, seen: dict[str, Process]) -> list[tuple[str, ...]]:
    """Rows of a table: pod, memory at its peak, now and allowed, the peak's share, how often at the limit, CPUs."""
    return [
        (
            pod.name,
            f"{seen[pod.name].peak >> 20} MiB",
            f"{seen[pod.name].charged >> 20} MiB",
            f"{pod.memory >> 20} MiB",
            f"{seen[pod.name].peak / pod.memory:.0%}",
            str(seen[pod.name].at_limit),
            f"{pod.cpus:g}",
        )
        for pod in podman.pods
    ]
