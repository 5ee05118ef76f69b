"""Who calls which pod: connections that live for a while, and names that are looked up when one ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.autoscaling.pod import Pod

SLEEP_SECONDS = 10.0
"""preStop: a pod that was told to stop serves so long, then sends its callers away."""


class Endpoints:
    """The pods behind a headless name, as its readers see it: `dns_seconds` late at most."""

    def __init__(self, dns_seconds: float) -> None:
        self.pods: list[Pod] = []
        self._dns_seconds = dns_seconds

    def serving(self, when: float) -> list[Pod]:
        """Ready at `when`, and not told to stop."""
        return [pod for pod in self.pods if pod.ready <= when and (pod.gone is None or pod.gone > when)]

    def looked_up(self, now: float, phase: float) -> list[Pod]:
        """As a cache of names says that was filled at the last multiple of `dns_seconds`, plus `phase`."""
        if self._dns_seconds <= 0:
            return self.serving(now)
        filled = now - (now - phase) % self._dns_seconds
        return [pod for pod in self.serving(filled) if not _stopped(pod, now)] or self.serving(now)


class RoundRobin:
    """One caller's channel: asks the addresses it knows in turn; learns new ones when a connection comes of age."""

    def __init__(self, endpoints: Endpoints, age_seconds: float, chance: random.Random) -> None:
        self._endpoints = endpoints
        self._age = age_seconds
        self._chance = chance
        self._phase = chance.uniform(0, 60)
        self._pods: Sequence[Pod] = ()
        self._index = 0
        self._renewal = float("-inf")

    def pick(self, now: float) -> Pod | None:
        """The pod to ask; None where there is none."""
        if now >= self._renewal:
            self._renew(now)
        for _ in range(len(self._pods)):
            self._index += 1
            pod = self._pods[self._index % len(self._pods)]
            if not _stopped(pod, now):
                return pod
        self._renew(now)
        return self._pods[0] if self._pods else None

    def _renew(self, now: float) -> None:
        self._pods = self._endpoints.looked_up(now, self._phase)
        self._chance.shuffle(pods := list(self._pods))
        self._pods = pods
        # The first of its connections to end has every name looked up.
        self._renewal = now + self._age * self._chance.uniform(0.9, 1.1) / max(1, len(pods))


class Connections:
    """Ferry's callers: each connection goes to one gateway until it comes of age."""

    def __init__(self, endpoints: Endpoints, count: int, age_seconds: float, chance: random.Random) -> None:
        self._endpoints = endpoints
        self._age = age_seconds
        self._chance = chance
        self._pods: list[Pod | None] = [None] * count
        self._ends = [0.0] * count

    def pick(self, now: float) -> Pod | None:
        """The gateway of the connection that has something to ask."""
        number = self._chance.randrange(len(self._pods))
        pod = self._pods[number]
        if pod is None or now >= self._ends[number] or _stopped(pod, now):
            serving = self._endpoints.serving(now)
            pod = self._chance.choice(serving) if serving else None
            # The first ones are of any age.
            first = self._ends[number] == 0.0
            self._pods[number] = pod
            self._ends[number] = now + self._age * self._chance.uniform(0.0 if first else 0.9, 1.1)
        return pod


def _stopped(pod: Pod, now: float) -> bool:
    return pod.gone is not None and now >= pod.gone + SLEEP_SECONDS
