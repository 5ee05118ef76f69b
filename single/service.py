"""Gateway, ensembler and models as one service: it starts and stops them in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import grpc

from gateway.service import GatewayService
from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from services.ensembler.recipe import ModelEntry, Recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from serving.cpu import available_cpus
from serving.models.batching.turns import Turns
from serving.rpc.identity import Identity
from serving.rpc.interceptor import CallInterceptor
from serving.rpc.limits import limits_by_kind
from serving.rpc.local import LocalCalls
from serving.rpc.same_process import SCHEME, LocalServer
from serving.server import Service
from serving.settings import ServiceSettings
from single.settings import SingleSettings


class SingleService(Service):
    """Serves ferry.v1.ExpressionRecognition; what stands behind it is in the same process, and not on any port."""

    name = "single"
    grpc_services = GatewayService.grpc_services
    probes = GatewayService.probes
    kinds = GatewayService.kinds
    runs_models = True

    def __init__(self, settings: SingleSettings, recipe: Recipe) -> None:
        """
        Args:
            settings: of all of them.
            recipe: which models; their addresses do not count.
        """
        detector = recipe.detector
        shared = settings.of_models()
        here = recipe.model_copy(
            update={
                "detector": _here(detector),
                "classifiers": tuple(_here(entry) for entry in recipe.classifiers),
            }
        )
        self._behind: list[tuple[Service, LocalServer]] = []
        turns = Turns(available_cpus())
        finds = DetectorService(DetectorSettings(model=_policy(detector), **shared), turns=turns)
        self._offer(detector.name, finds, settings)
        for entry in recipe.classifiers:
            judges = ClassifierService(ClassifierSettings(models=_policy(entry), **shared), turns)
            self._offer(entry.name, judges, settings)
        self._offer("ensembler", EnsemblerService(EnsemblerSettings(recipe=settings.recipe), here), settings)
        self._gateway = GatewayService(settings)
        self.foresee = self._gateway.foresee

    @property
    def ready(self) -> bool:  # of the gateway, whose methods look at it
        return self._gateway.ready

    @ready.setter
    def ready(self, value: bool) -> None:
        self._gateway.ready = value

    @property
    def max_request_bytes(self) -> int:
        return self._gateway.max_request_bytes

    def register(self, server: grpc.aio.Server) -> None:
        self._gateway.register(server)

    def identify(self, metadata: Mapping[str, str]) -> Identity | None:
        return self._gateway.identify(metadata)

    def check(self, metadata: Mapping[str, str]) -> None:
        self._gateway.check(metadata)

    async def open(self, calls: LocalCalls) -> None:
        await self._gateway.open(calls)

    async def close(self, grace: float | None) -> None:
        await self._gateway.close(grace)

    async def watch_ability(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        await self._gateway.watch_ability(tell)

    async def start(self) -> None:
        """Models one after the other, so that none is measured beside another; then ensembler and gateway."""
        for service, server in self._behind:
            server.open()
            await service.start()
            server.interceptor.ready = service.ready = True
        await self._gateway.start()

    async def stop(self) -> None:
        await self._gateway.stop()
        for service, server in reversed(self._behind):
            server.interceptor.ready = service.ready = False
            server.close()
            await service.stop()

    def _offer(self, name: str, service: Service, settings: ServiceSettings) -> None:
        interceptor = CallInterceptor(service.grpc_services, limits_by_kind(settings), kinds=service.kinds)
        server = LocalServer(name, interceptor)
        service.register(server)  # type: ignore[arg-type]  # of a server it only needs to take methods
        self._behind.append((service, server))


def _here(entry: ModelEntry) -> ModelEntry:
    return entry.model_copy(update={"address": SCHEME + entry.name})


def _policy(entry: ModelEntry) -> str:
    return f"{entry.name}:{entry.version}" if entry.version else entry.name
