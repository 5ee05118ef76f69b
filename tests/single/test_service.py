"""The cluster in one process is to its callers what a gateway is."""

from __future__ import annotations

import inspect

from gateway.service import GatewayService
from services.ensembler.recipe import read_recipe
from serving.server import Service
from single.service import SingleService
from single.settings import SingleSettings


async def test_it_hands_on_all_that_a_gateway_says_of_itself() -> None:
    settings = SingleSettings(redis_url=None)
    single = SingleService(settings, read_recipe(settings.recipe))
    for name in ("grpc_services", "probes", "kinds"):
        assert getattr(SingleService, name) == getattr(GatewayService, name)
    foreseen = {method: check.__func__ for method, check in GatewayService(settings).foresee.items()}  # type: ignore[attr-defined]
    assert {method: check.__func__ for method, check in single.foresee.items()} == foreseen  # type: ignore[attr-defined]
    assert foreseen
    offered = {
        name for name, value in vars(Service).items() if inspect.isfunction(value) or isinstance(value, property)
    }
    changed = {name for name in offered & set(vars(GatewayService)) if not name.startswith("_")}
    assert changed <= set(vars(SingleService)), "what a gateway does otherwise than a service"
