"""The pods of one service, and the controller that decides how many there are."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.autoscaling.callers import Endpoints
from benchmarks.autoscaling.controller import Controller
from benchmarks.autoscaling.pod import Pod
from benchmarks.autoscaling.readings import SCRAPE_SECONDS, read
from deploy.capacity.costs import ServiceCost
from deploy.capacity.manifests import Deployed

SCHEDULE_SECONDS = 2.0
"""From the wish for a pod to its container running, the image being on the node."""


@dataclass(frozen=True, slots=True)
class Change:
    """Replicas from some moment on."""

    when: float
    replicas: int


class Deployment:
    """Grows and shrinks.

    Attributes:
        max_batch: rows of one run of a model.
        max_queue: requests that may wait in a pod.
    """

    def __init__(
        self,
        deployed: Deployed,
        cost: ServiceCost,
        replicas: int,
        start_seconds: float,
        dns_seconds: float,
        chance: random.Random,
    ) -> None:
        """
        Args:
            deployed: its manifest.
            cost: of a request.
            replicas: at the beginning, serving.
            start_seconds: from the wish for a pod until it takes load.
            dns_seconds: how long names may be out of date.
            chance: for phases.
        """
        self.deployed = deployed
        self.cost = cost
        self.max_batch = self.max_queue = 1
        self.endpoints = Endpoints(dns_seconds)
        self.pods: list[Pod] = []
        self.changes = [Change(0.0, replicas)]
        self._controller = Controller(deployed.autoscaler)
        self._start_seconds = start_seconds
        self._chance = chance
        self._number = 0
        self._add(-3600.0, replicas)

    def sync(self, now: float) -> None:
        """One round of the controller."""
        replicas = len(self.pods)
        wanted = self._controller.sync(now, replicas, read(now, self.pods, self.deployed))
        if wanted > replicas:
            self._add(now, wanted - replicas)
        elif wanted < replicas:
            for pod in self.pods[wanted:]:  # the youngest
                pod.gone = now
            del self.pods[wanted:]
        if wanted != replicas:
            self.changes.append(Change(now, wanted))

    def observe(self, now: float) -> None:
        """Every pod whose turn it is at this whole second is scraped."""
        for pod in self.pods:
            if pod.ready <= now and int(now) % SCRAPE_SECONDS == pod.phase:
                pod.observe(now)

    def _add(self, now: float, count: int) -> None:
        for _ in range(count):
            self._number += 1
            start = self._start_seconds * self._chance.uniform(0.8, 1.2)
            running = now + min(SCHEDULE_SECONDS, start)
            pod = Pod(self._number, now, running, now + start, self._chance.randrange(SCRAPE_SECONDS))
            self.pods.append(pod)
            self.endpoints.pods.append(pod)
