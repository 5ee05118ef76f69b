"""The Horizontal Pod Autoscaler's algorithm, as Kubernetes 1.33 and newer documents and implements it.

The documentation: "Horizontal Pod Autoscaling", sections "Algorithm details" and "Configurable scaling behavior"; what
it leaves open (order of the steps, rounding, periods) follows the podautoscaler package of kube-controller-manager.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.capacity.autoscaler import Autoscaler, Policy, Rules, Select

SYNC_SECONDS = 15.0
"""--horizontal-pod-autoscaler-sync-period."""

_ROUNDING = 1e-9
"""Below this a ratio counts as exact; 3 pods at 4/3 of the target are 4 and not 5."""


@dataclass(frozen=True, slots=True)
class Readings:
    """One metric of all pods that are not being deleted.

    Attributes:
        ratios: value / target of each pod that counts.
        missing: pods without a value.
        ignored: pods that are pending or, for CPU, not ready yet.
        missing_ratio: what a missing pod is taken for where fewer pods would be wanted.
    """

    ratios: tuple[float, ...]
    missing: int = 0
    ignored: int = 0
    missing_ratio: float = 1.0


def proposal(current: int, readings: Readings, up: float = 0.1, down: float = 0.1) -> int | None:
    """Replicas that bring one metric to its target: ceil(pods * mean ratio).

    Args:
        current: replicas.
        readings: of the metric.
        up: tolerance above the target, a share.
        down: tolerance below it.

    Returns:
        None where no pod has a value that counts.
    """
    values = list(readings.ratios)
    if not values:
        return None
    ratio = sum(values) / len(values)
    rebalance = readings.ignored > 0 and ratio > 1
    if not rebalance and not readings.missing:
        return current if 1 - down <= ratio <= 1 + up else _ceil(ratio * len(values))
    # A change must be wanted even if those that say nothing are on the other side.
    values += [readings.missing_ratio if ratio < 1 else 0.0] * readings.missing
    if rebalance:
        values += [0.0] * readings.ignored
    cautious = sum(values) / len(values)
    if 1 - down <= cautious <= 1 + up or (ratio < 1 < cautious) or (cautious < 1 < ratio):
        return current
    wanted = _ceil(cautious * len(values))
    turned = wanted > current if cautious < 1 else wanted < current
    return current if turned else wanted


class Controller:
    """Decides on one Deployment, `sync` by `sync`."""

    def __init__(self, autoscaler: Autoscaler) -> None:
        self._autoscaler = autoscaler
        self._recommendations: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def sync(self, now: float, current: int, metrics: Sequence[Readings]) -> int:
        """The replicas to have from now on.

        Args:
            now: seconds, not before those of the last call.
            current: replicas that the Deployment asks for.
            metrics: of every metric of the autoscaler.
        """
        scaler = self._autoscaler
        if not self._recommendations:
            self._recommendations.append((now, current))
        if not scaler.min_replicas <= current <= scaler.max_replicas:
            wanted = min(max(current, scaler.min_replicas), scaler.max_replicas)
        else:
            proposals = [proposal(current, m, scaler.up.tolerance, scaler.down.tolerance) for m in metrics]
            known = [p for p in proposals if p is not None]
            # Down only where every metric agrees, and one that is unknown does not.
            if not known or (len(known) < len(proposals) and max(known) < current):
                return current
            wanted = self._limit(now, current, self._stabilize(now, current, max(known)))
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _stabilize(self, now: float, current: int, wanted: int) -> int:
        """As few pods more as were wanted throughout the window upwards, as few less as throughout that downwards."""
        up, down = self._autoscaler.up.window_seconds, self._autoscaler.down.window_seconds
        lowest = min([wanted, *(n for when, n in self._recommendations if when > now - up)])
        highest = max([wanted, *(n for when, n in self._recommendations if when > now - down)])
        self._recommendations = [r for r in self._recommendations if r[0] > now - max(up, down)]
        self._recommendations.append((now, wanted))
        return min(max(current, lowest), highest)

    def _limit(self, now: float, current: int, wanted: int) -> int:
        """Within the policies and the bounds of the autoscaler."""
        scaler = self._autoscaler
        if wanted > current:
            most = max(current, self._reach(now, current, scaler.up, 1))
            return min(wanted, most, scaler.max_replicas)
        if wanted < current:
            least = min(current, self._reach(now, current, scaler.down, -1))
            return max(wanted, least, scaler.min_replicas)
        return current

    def _reach(self, now: float, current: int, rules: Rules, sign: int) -> int:
        """How far the policies let the replicas go up (`sign` 1) or down (-1)."""
        if rules.select is Select.DISABLED:
            return current
        proposed = [self._proposed(now, current, policy, sign) for policy in rules.policies]
        farthest = rules.select is Select.MAX
        return max(proposed) if farthest == (sign > 0) else min(proposed)

    def _proposed(self, now: float, current: int, policy: Policy, sign: int) -> int:
        start = current - sum(change for when, change in self._changes if when > now - policy.period_seconds)
        if not policy.percent:
            return start + sign * policy.value
        share = start * (1 + sign * policy.value / 100)
        return _ceil(share) if sign > 0 else int(share + _ROUNDING)


def _ceil(value: float) -> int:
    return math.ceil(value - _ROUNDING)
