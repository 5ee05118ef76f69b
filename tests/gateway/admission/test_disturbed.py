"""Calls that wait for somebody who is away are no load: who comes after them is told what is away, not "too much"."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from serving.errors import UnavailableError
from tests.gateway.conftest import StartGateway
from tests.gateway.fakes import FakeEnsembler, Gateway, eventually, jpeg, refuse, running_ensembler, running_gateway


async def code(gateway: Gateway, shade: int) -> grpc.StatusCode:
    try:
        await gateway.recognize(jpeg(shade), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def no_detector(ensembler: FakeEnsembler, request: Any, context: Any) -> None:
    await refuse(context, UnavailableError("detector is not reachable"))


@pytest.mark.parametrize("waiting", [True, False])
async def test_nobody_is_refused_while_calls_wait_for_a_model_that_is_away(
    ensembler: FakeEnsembler, start_gateway: StartGateway, waiting: bool
) -> None:
    gateway = await start_gateway(pipeline_interval=3600)
    for _ in range(100):  # each image takes a second, of ten that callers have
        gateway.service._admission._in_flight._pace.learn(10, 10, answered=True)
    ensembler.gate.clear()
    ensembler.behave, ensembler.waiting = no_detector, waiting
    looks = ensembler.looks
    calls = [asyncio.create_task(code(gateway, shade)) for shade in range(3)]
    await eventually(lambda: ensembler.looks > looks + 1, 10)
    calls += [asyncio.create_task(code(gateway, shade)) for shade in range(3, 20)]
    await eventually(lambda: len(ensembler.requests) + sum(call.done() for call in calls) == 20)
    ensembler.gate.set()
    codes = Counter(await asyncio.gather(*calls))
    assert (codes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 0) is waiting
    assert codes[grpc.StatusCode.UNAVAILABLE] == 20 if waiting else codes[grpc.StatusCode.UNAVAILABLE] < 20


async def test_a_gateway_sees_by_itself_that_its_ensembler_is_away(ensembler: FakeEnsembler) -> None:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_ensembler(ensembler))
        async with running_gateway(address, pipeline_interval=3600) as gateway:
            variant = gateway.service._router.stable
            assert await code(gateway, 1) is grpc.StatusCode.OK
            assert not variant.disturbed
            await stack.aclose()
            call = asyncio.create_task(code(gateway, 2))
            await eventually(lambda: variant.disturbed, 10)
            assert variant.healthy, "as it was seen last"
            call.cancel()
