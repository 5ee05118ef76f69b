"""Whether a process of the cluster is ready for calls."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT = 1.0


def is_serving(address: str) -> bool:
    """True when grpc.health.v1 at `address` (`host:port`) says SERVING within a second."""
    # A connection of its own for each question: a channel that has failed waits before it tries again.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]) as c:
        try:
            check = health_pb2_grpc.HealthStub(c).Check  # type: ignore[attr-defined]
            answer = check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def answers_ping(path: Path) -> bool:
    """True when a Redis-protocol server on the Unix socket `path` answers PING within a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(str(path))
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
