"""How busy a replica is, as it tells its callers with each answer, so that they ask a slow one, or one at which calls
gather, less.

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
_UNDER_WAY_SECONDS = 0.3
"""Likewise, of how many calls were under way."""
_BACKLOG_SECONDS = 0.1
"""Of work before a replica, for which it is asked half as much; for a tenth of that nearly as much as with none.
Callers heed what they are told some tenths of a second later: work of a moment is gone by then, and replicas would be
asked and left in turn for it."""
_CALLS = 20
"""What came before counts no less than so many calls."""
_POWER = 3
"""Of the time of work. A replica that takes five times as long gets 1/125 of another one's share: below the hundredth
that p99 speaks of. It keeps some, by which it is seen to be well again."""
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
"""How a call ends by its caller, or by how much there is to do: that says nothing of how fast the replica is."""


class LoadReport:
    """The mean time that calls are worked on, their waits left out where they are known, and how much of such work is
    before the replica. The latest counts most.

    A service that runs no model itself knows only how long its calls take, what they wait for included.

    By the time of work alone, calls would gather at one of several replicas that share CPUs: whoever always works while
    the others rest now and then has more of the CPUs in that time, and looks the fastest.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._seconds = 0.0
        self._at = -math.inf
        self._under_way = 0
        self._mean_under_way = 0.0
        self._seen_at = time.monotonic()

    def begin(self) -> None:
        """A call has begun; `end` follows."""
        self._look()
        self._under_way += 1

    def end(self, status: grpc.StatusCode, seconds: float) -> None:
        """A call has ended so; its work took so long."""
        self._look()
        self._under_way -= 1
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
        self._look()
        seconds = max(self._seconds, _LEAST_SECONDS)
        backlog = seconds * self._mean_under_way / _BACKLOG_SECONDS
        return KEY, _REPORT.pack(_RATE, 1.0, _UTILIZATION, seconds**_POWER * (1 + backlog))

    def _look(self) -> None:
        """To be called before the number of calls under way changes."""
        now = time.monotonic()
        share = 1 - math.exp((self._seen_at - now) / _UNDER_WAY_SECONDS)
        self._mean_under_way += share * (self._under_way - self._mean_under_way)
        self._seen_at = now
