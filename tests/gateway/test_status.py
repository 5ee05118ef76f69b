"""What the gateway says of itself, and what it does not serve."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import ferry
from ferry.v1 import gateway_pb2
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import eventually, jpeg


async def test_status(ensembler, start_gateway, valkey):
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


async def test_health_names_the_service(gateway):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        request = health_pb2.HealthCheckRequest(service="ferry.v1.ExpressionRecognition")
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("SubmitJob", gateway_pb2.SubmitJobRequest),
        ("GetJob", gateway_pb2.GetJobRequest),
        ("CancelJob", gateway_pb2.CancelJobRequest),
        ("SubmitFeedback", gateway_pb2.SubmitFeedbackRequest),
    ],
)
async def test_what_is_not_served_says_so(gateway, method, request_type):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(gateway.stub, method)(request_type(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "this version" in caught.value.details()


async def test_streams_are_not_served_and_say_so(gateway):
    call = gateway.stub.RecognizeStream(iter([gateway_pb2.RecognizeStreamRequest()]), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
