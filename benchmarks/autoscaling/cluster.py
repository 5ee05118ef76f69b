"""Ferry as queues: every image's way through gateway, ensembler, detector and classifiers, event by event."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.autoscaling.callers import Connections, RoundRobin
from benchmarks.autoscaling.controller import SYNC_SECONDS
from benchmarks.autoscaling.deployment import Deployment
from benchmarks.autoscaling.outcome import End, Outcome, Record
from benchmarks.autoscaling.pod import Pod, run_seconds
from benchmarks.autoscaling.request import Request
from benchmarks.autoscaling.scenario import Scenario
from deploy.capacity.costs import Costs
from deploy.capacity.manifests import Deployed
from gateway.settings import GatewaySettings
from services.classifier.settings import ClassifierSettings
from services.detector.settings import DetectorSettings
from services.ensembler.recipe import ModelEntry
from serving.settings import ServiceSettings

GATEWAY, ENSEMBLER, DETECTOR = "gateway", "ensembler", "detector"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What no manifest says.

    Attributes:
        peak: images per second where a scenario's rate is 1.
        hit_rate: share of the images whose answer is cached.
        faces: mean number of faces of an image; their number is Poisson's.
        spread: of the costs, standard deviation over mean; they are lognormal.
        start_seconds: from the wish for a pod until it takes load, give or take a fifth.
        dns_seconds: how long the cluster's DNS may answer with old addresses.
        connections: of Ferry's callers to its gateways.
        autoscaling: False: the replicas stay.
        seed: of all chance.
    """

    peak: float = 100.0
    hit_rate: float = 0.3
    faces: float = 1.2
    spread: float = 0.25
    start_seconds: float = 10.0
    dns_seconds: float = 30.0
    connections: int = 64
    autoscaling: bool = True
    seed: int = 1


def _default(settings: type[ServiceSettings], field: str) -> int:
    value: int = settings.model_fields[field].default
    return value


class Cluster:
    """One run of one scenario."""

    def __init__(
        self,
        manifests: Mapping[str, Deployed],
        costs: Costs,
        conditions: Conditions,
        replicas: Mapping[str, int],
    ) -> None:
        """
        Args:
            manifests: by name of the Deployment; whatever is named classifier-* classifies.
            costs: of every service in `manifests`.
            conditions: see there.
            replicas: at the beginning, by name.
        """
        self._conditions = conditions
        self._costs = costs
        self._chance = chance = random.Random(conditions.seed)
        self._numbers = np.random.default_rng(conditions.seed)
        self.deployments = {
            name: Deployment(
                deployed,
                costs.services[name],
                replicas[name],
                conditions.start_seconds,
                conditions.dns_seconds,
                chance,
            )
            for name, deployed in manifests.items()
        }
        self._classifiers = [name for name in manifests if name not in {GATEWAY, ENSEMBLER, DETECTOR}]
        for name, deployment in self.deployments.items():
            model = DetectorSettings if name == DETECTOR else ClassifierSettings
            settings = deployment.deployed.settings
            deployment.max_batch = int(settings.get("FERRY_MAX_BATCH", _default(model, "max_batch")))
            deployment.max_queue = int(settings.get("FERRY_MAX_QUEUE", _default(model, "max_queue")))
        gateway = manifests[GATEWAY].settings
        self._max_images = int(gateway.get("FERRY_MAX_CONCURRENCY", _default(GatewaySettings, "max_concurrency")))
        room = int(gateway.get("FERRY_MAX_IN_FLIGHT_BYTES", _default(GatewaySettings, "max_in_flight_bytes")))
        self._max_images = min(self._max_images, max(1, int(room / max(1.0, costs.image_bytes))))
        self._age = float(gateway.get("FERRY_MAX_CONNECTION_AGE", "60"))
        self._patience = float(ModelEntry.model_fields["timeout"].default)
        endpoints = self.deployments[GATEWAY].endpoints
        self._callers = Connections(endpoints, conditions.connections, self._age, chance)
        self._channels: dict[tuple[Pod, str], RoundRobin] = {}
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        factors = self._numbers.lognormal(
            -0.5 * np.log1p(conditions.spread**2), np.sqrt(np.log1p(conditions.spread**2)), 8191
        )
        self._factors = itertools.cycle(factors.tolist())
        self._record = Record()

    def run(self, scenario: Scenario) -> Outcome:
        """From the first arrival to the end of the scenario; what is under way then counts as neither."""
        arrivals = scenario.arrivals(self._conditions.peak, self._numbers).tolist()
        faces = self._numbers.poisson(self._conditions.faces, len(arrivals)).tolist()
        hits = (self._numbers.random(len(arrivals)) < self._conditions.hit_rate).tolist()
        for second in range(scenario.seconds):
            self._at(float(second), self._tick, float(second))
        events = self._events
        for when, count, hit in zip(arrivals, faces, hits, strict=True):
            while events and events[0][0] <= when:
                now, _, act, arguments = heapq.heappop(events)
                act(now, *arguments)
            self._arrive(when, count, hit)
        while events and events[0][0] <= scenario.seconds:
            now, _, act, arguments = heapq.heappop(events)
            act(now, *arguments)
        changes = {name: tuple(deployment.changes) for name, deployment in self.deployments.items()}
        return self._record.outcome(scenario, changes, len(arrivals))

    def _at(self, when: float, act: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), act, arguments))

    def _tick(self, now: float, second: float) -> None:
        for offset, (name, deployment) in enumerate(self.deployments.items()):
            deployment.observe(now)
            if self._conditions.autoscaling and (second - 2 * offset) % SYNC_SECONDS == 0:
                deployment.sync(now)
            self._record.observe(name, sum(pod.held for pod in deployment.endpoints.pods))

    def _arrive(self, now: float, faces: int, hit: bool) -> None:
        gateway = self._callers.pick(now)
        if gateway is None or gateway.held >= self._max_images:
            self._record.end(now, now, End.SHED)
            return
        gateway.held += 1
        request = Request(now, now + self._patience, hit, faces, gateway)
        seconds = self._costs.cached_seconds if hit else self.deployments[GATEWAY].cost.request_seconds
        self._at(gateway.work(now, seconds * next(self._factors)), self._at_gateway, request)

    def _at_gateway(self, now: float, request: Request) -> None:
        if request.hit:
            self._end(now, request, End.ANSWERED)
            return
        ensembler = self._pick(now, request.gateway, ENSEMBLER)
        if ensembler is None:
            self._end(now, request, End.SHED)
            return
        request.ensembler = ensembler
        ensembler.held += 1
        seconds = self.deployments[ENSEMBLER].cost.request_seconds * next(self._factors)
        self._at(ensembler.work(now, seconds), self._at_ensembler, request, ensembler)

    def _at_ensembler(self, now: float, request: Request, ensembler: Pod) -> None:
        self._submit(now, request, DETECTOR, 1)

    def _submit(self, now: float, request: Request, service: str, rows: int) -> None:
        """Into the queue of some pod of a model."""
        assert request.ensembler is not None
        pod = self._pick(now, request.ensembler, service)
        if pod is None or len(pod.queue) >= self.deployments[service].max_queue:
            self._failed(now, request, service, End.SHED)
            return
        pod.queue.append((request, rows))
        pod.held += 1
        if not pod.busy:
            self._start(now, pod, service)

    def _start(self, now: float, pod: Pod, service: str) -> None:
        deployment = self.deployments[service]
        batch, rows, late = pod.take(now, deployment.max_batch)
        pod.held -= len(late)
        pod.busy = bool(batch)
        if batch:
            seconds = run_seconds(deployment.cost, len(batch), rows) * next(self._factors)
            self._at(pod.work(now, seconds), self._finish, pod, service, batch)
        for request in late:
            self._failed(now, request, service, End.LATE)

    def _finish(self, now: float, pod: Pod, service: str, batch: list[Request]) -> None:
        pod.held -= len(batch)
        self._start(now, pod, service)
        for request in batch:
            if request.ended:
                continue
            if service != DETECTOR:
                self._judged(now, request)
            elif request.faces == 0:
                self._end(now, request, End.ANSWERED)
            else:
                request.pending = len(self._classifiers)
                request.deadline = now + self._patience  # each call of the ensembler has its own
                for name in self._classifiers:
                    self._submit(now, request, name, request.faces)

    def _judged(self, now: float, request: Request) -> None:
        request.pending -= 1
        if request.pending == 0:
            self._end(now, request, End.ANSWERED)

    def _failed(self, now: float, request: Request, service: str, end: End) -> None:
        """Without a detector there is no answer; without a classifier it is degraded."""
        if service == DETECTOR:
            self._end(now, request, end)
        else:
            self._record.degraded += 1
            self._judged(now, request)

    def _end(self, now: float, request: Request, end: End) -> None:
        request.ended = True
        request.gateway.held -= 1
        if request.ensembler is not None:
            request.ensembler.held -= 1
        self._record.end(request.arrived, now, end)

    def _pick(self, now: float, caller: Pod, service: str) -> Pod | None:
        channel = self._channels.get((caller, service))
        if channel is None:
            channel = RoundRobin(self.deployments[service].endpoints, self._age, self._chance)
            self._channels[caller, service] = channel
        return channel.pick(now)
