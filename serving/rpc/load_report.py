"""How busy a replica is, as it tells its callers with each answer, so that they ask a slow one less.

The form is gRPC's (ORCA, `xds.data.orca.v3.OrcaLoadReport` in trailing metadata); callers' weighted_round_robin gives
each replica a share in proportion to rps_fractional / application_utilization.
"""

from __future__ import annotations

import math
import struct
import time

import grpc

KEY = "endpoint-load-metrics-bin"
_REPORT = struct.Struct("<BdBd")
_RATE, _UTILIZATION = 6 << 3 | 1, 9 << 3 | 1
"""Tags of protobuf: fields rps_fractional and application_utilization, doubles."""
_MEMORY_SECONDS = 3.0
"""After which a call counts a third as much as one that has just ended."""
_CALLS = 20
"""What came before counts no less than so many calls."""
_POWER = 3
"""A replica that takes five times as long gets 1/125 of another one's share: below the hundredth that p99 speaks of. It
keeps some, by which it is seen to be well again."""
_WARMING = 5
"""Calls that are not counted: the first ones of a process are slow, and it would be asked little for that."""
_FAILED_SECONDS = 5.0
"""What a call that fails counts as, at least: one that fails quickly must not draw the others to it."""
_LEAST_SECONDS = 1e-3
_SAY_NOTHING = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""How a call ends by its caller, or by how much there is to do. If a replica that has much to do were asked less, all
would be asked and left in turn."""


class LoadReport:
    """The mean time that calls are worked on, their waits left out where they are known; the latest counts most."""

    def __init__(self) -> None:
        self._calls = 0
        self._seconds = 0.0
        self._at = -math.inf

    def learn(self, status: grpc.StatusCode, seconds: float) -> None:
        """A call has ended so; its work took so long."""
        if status in _SAY_NOTHING:
            return
        self._calls += 1
        if self._calls <= _WARMING:
            return
        if status is not grpc.StatusCode.OK:
            seconds = max(seconds, _FAILED_SECONDS)
        now = time.monotonic()
        share = max(1 / _CALLS, 1 - math.exp((self._at - now) / _MEMORY_SECONDS))
        self._seconds += share * (seconds - self._seconds)
        self._at = now

    def trailer(self) -> tuple[str, bytes] | None:
        """For the trailing metadata of an answer; None: nothing is known yet, and callers give it an equal share."""
        if self._calls <= _WARMING:
            return None
        load = max(self._seconds, _LEAST_SECONDS) ** _POWER
        return KEY, _REPORT.pack(_RATE, 1.0, _UTILIZATION, load)
