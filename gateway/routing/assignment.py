"""Sticky assignment: the same caller gets the same variant, and a change of weights moves as few as it can."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import accumulate

from gateway.routing.table import STABLE, RoutingTable


class Assignment:
    """Maps the keys of callers to names of variants.

    A key's salted BLAKE2b is a point in [0, 1); each variant has an interval as long as its share. `stable` lies
    between the first of the others and the rest, so that when either neighbour grows at its cost, callers only move
    from `stable` to that neighbour: none moves back, none between the others. (With more than two beside `stable` the
    last ones push each other.)
    """

    def __init__(self, table: RoutingTable) -> None:
        self._salt = table.salt.encode()
        shares = table.shares
        others = [name for name in shares if name != STABLE]
        order = [name for name in (*others[:1], STABLE, *others[1:]) if shares[name] > 0]
        self._names = tuple(order)
        # The last one ends at 1, whatever the sum says.
        self._ends = tuple(accumulate(shares[name] for name in order[:-1]))

    def of_key(self, key: bytes) -> str:
        """The variant of a caller."""
        if not self._ends:
            return self._names[0]
        digest = hashlib.blake2b(key, digest_size=8, key=self._salt).digest()
        return self.at((int.from_bytes(digest, "big") >> 11) / (1 << 53))

    def at(self, point: float) -> str:
        """The variant whose interval holds `point`, which is in [0, 1)."""
        return self._names[bisect_right(self._ends, point)]
