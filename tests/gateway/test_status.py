"""What the gateway says of itself, and what it does not serve."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

import ferry
from ferry.v1 import gateway_pb2
from gateway.ability import Ability
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import eventually, jpeg
from tests.processes import NOT_SERVING, SERVING


async def test_status(start_gateway, valkey):
    gateway = await start_gateway(redis_url=redis_url(valkey))
    await gateway.recognize(jpeg())
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    assert status.ferry_version == ferry.__version__
    (variant,) = status.variants
    assert (variant.name, variant.traffic_share, variant.healthy) == ("stable", 1.0, True)
    assert variant.fingerprint == "a" * 64
    assert [entry.model.name for entry in variant.entries] == ["efficientnet"]
    assert status.cache.enabled
    assert status.cache.redis_available
    assert status.cache.memory_entries == 1
    assert status.cache.memory_bytes > 0
    assert status.uptime.ToNanoseconds() > 0


async def test_a_pipeline_with_a_missing_model_is_not_healthy(ensembler, start_gateway):
    ensembler.available = False
    gateway = await start_gateway(pipeline_interval=0.01)
    request = gateway_pb2.GetStatusRequest()
    assert not (await gateway.stub.GetStatus(request, timeout=20)).variants[0].healthy
    ensembler.available = True
    await eventually(lambda: gateway.service._router.stable.healthy)


async def test_status_without_ensembler_and_cache(start_gateway):
    gateway = await start_gateway(ensembler="127.0.0.1:1", cache_enabled=False)
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    assert not status.cache.enabled
    assert not status.variants[0].healthy
    assert status.variants[0].fingerprint == ""


async def test_a_pipeline_not_heard_of_for_long_is_unknown(ensembler, start_gateway):
    gateway = await start_gateway(pipeline_interval=0.01, pipeline_max_age=0.01)
    ensembler.pipeline_known = False
    variant = gateway.service._router.stable
    await eventually(lambda: not variant.healthy and variant.fingerprint == "")


NAMED = "ferry.v1.ExpressionRecognition"


async def health(gateway, service):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=20)).status


async def becomes(gateway, status):
    async with asyncio.timeout(30):
        while await health(gateway, NAMED) != status:
            await asyncio.sleep(0.02)


async def test_health_names_the_service(gateway):
    assert await health(gateway, NAMED) == SERVING


@pytest.mark.parametrize("lost", ["the ensembler", "the detector"])
async def test_readiness_follows_whether_anybody_can_answer_and_liveness_does_not(ensembler, start_gateway, lost):
    gateway = await start_gateway(pipeline_interval=0.01, unready_after=0.1)
    assert await health(gateway, NAMED) == SERVING
    if lost == "the ensembler":
        ensembler.pipeline_known = False
    else:
        ensembler.available = False
    await becomes(gateway, NOT_SERVING)
    assert REGISTRY.get_sample_value("ferry_gateway_able") == 0
    assert await health(gateway, "") == SERVING
    assert (await gateway.recognize(jpeg())).faces, "who asks all the same is answered"
    ensembler.pipeline_known = ensembler.available = True
    await becomes(gateway, SERVING)
    assert REGISTRY.get_sample_value("ferry_gateway_able") == 1


def test_ability_is_lost_slowly_and_found_at_once():
    now = 0.0
    ability = Ability(10, clock=lambda: now)
    for now, seen, able in [
        (1, True, True),
        (9, False, True),
        (10.9, False, True),
        (10.95, True, True),
        (20, False, True),
        (21, False, False),
        (40, False, False),
        (41, True, True),
        (50, False, True),
        (51, False, False),
    ]:
        ability.look(seen)
        assert ability.able is able, now


async def test_one_missed_look_loses_no_variant_and_an_answer_that_is_no_message_ends_no_looking(
    ensembler, start_gateway
):
    gateway = await start_gateway(pipeline_interval=0.01)
    variant = gateway.service._router.stable
    ensembler.misses = 2
    await eventually(lambda: not ensembler.misses)
    assert not variant.lost
    ensembler.garbage = True
    await eventually(lambda: variant.lost)
    ensembler.garbage = False
    await eventually(lambda: not variant.lost and variant.healthy)
