"""Who is answered by which variant, through a running gateway."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import gateway_pb2
from serving.errors import ServiceError, UpstreamError
from tests.gateway.fakes import Counted, detail, eventually, jpeg, leaves_out_who_is_late, png, refuse
from tests.gateway.routing.conftest import GONE

CALLERS = [f"caller-{n}" for n in range(40)]


async def variant_of(gateway, caller, **fields):
    return (await gateway.recognize(jpeg(), metadata=[("x-ferry-key", caller)], **fields)).variant


async def variants_of(gateway, callers=CALLERS, **fields):
    return [await variant_of(gateway, caller, **fields) for caller in callers]


async def test_a_caller_keeps_its_variant_and_each_variant_its_own_answers(tracks):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    first = await variants_of(gateway)
    assert set(first) == {"stable", "canary"}
    assert await variants_of(gateway) == first
    # One model run for each variant: the cache knows by the pipeline's fingerprint whose answer is whose.
    assert (len(tracks.stable.requests), len(tracks.canary.requests)) == (1, 1)
    for caller, variant in zip(CALLERS[:8], first, strict=False):
        answer = await gateway.recognize(jpeg(), metadata=[("x-ferry-key", caller)])
        assert answer.cached
        assert answer.fingerprint == {"stable": "a" * 64, "canary": "c" * 64}[variant]


async def test_two_gateways_agree(tracks):
    tracks.write(stable=0.5, canary=0.5)
    assert await variants_of(await tracks.gateway()) == await variants_of(await tracks.gateway())


async def test_without_a_key_each_call_is_shared_out_by_chance(tracks):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    # All on one side: once in 2^63.
    assert {(await gateway.recognize(jpeg())).variant for _ in range(64)} == {"stable", "canary"}


async def test_the_images_of_a_batch_go_one_way(tracks):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    requests = [gateway_pb2.RecognizeRequest(image=jpeg(shade)) for shade in range(12)]
    for _ in range(4):
        answers = gateway.stub.RecognizeBatch(gateway_pb2.RecognizeBatchRequest(requests=requests), timeout=20)
        assert len({answer.response.variant async for answer in answers}) == 1


async def test_a_variant_can_be_asked_for_by_name(tracks):
    tracks.write(stable=1, canary=0)
    gateway = await tracks.gateway()
    forced = Counted("ferry_exposures_total", {"variant": "canary", "assigned": "forced"})
    answer = await gateway.recognize(jpeg(), metadata=[("x-ferry-variant", "canary"), ("x-ferry-key", "me")])
    assert (answer.variant, answer.fingerprint) == ("canary", "c" * 64)
    assert forced() == 1
    with pytest.raises(grpc.aio.AioRpcError, match="there are stable, canary") as caught:
        await gateway.recognize(jpeg(), metadata=[("x-ferry-variant", "teapot")])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_asking_by_name_can_be_switched_off(tracks):
    tracks.write(stable=1, canary=0)
    gateway = await tracks.gateway(allow_forced_variant=False)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(), metadata=[("x-ferry-variant", "canary")])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, error_details_pb2.BadRequest).field_violations[0].field == "x-ferry-variant"


async def test_status_names_stable_first_with_shares_and_health(tracks):
    tracks.canary.available = False
    tracks.write(canary=1, stable=3)
    gateway = await tracks.gateway()
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    seen = [(variant.name, variant.traffic_share, variant.healthy) for variant in status.variants]
    assert seen == [("stable", 0.75, True), ("canary", 0.25, False)]


async def test_a_canary_that_is_gone_fails_nobody(tracks):
    tracks.addresses["canary"] = GONE
    tracks.write(stable=0, canary=1)
    gateway = await tracks.gateway()
    fallbacks = Counted("ferry_variant_fallbacks_total", {"variant": "canary"})
    assert await variants_of(gateway) == ["stable"] * len(CALLERS)
    assert fallbacks() == len(CALLERS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(1), metadata=[("x-ferry-variant", "canary")])
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "NOT_FOUND", "RESOURCE_EXHAUSTED"])
async def test_a_canary_that_fails_fails_nobody(tracks, code):
    async def fail(fake, request, context):
        await refuse(context, UpstreamError(grpc.StatusCode[code], "out of order"))

    tracks.canary.behave = fail
    tracks.write(stable=0, canary=1)
    gateway = await tracks.gateway()
    errors = Counted("ferry_variant_errors_total", {"variant": "canary", "code": code})
    assert await variant_of(gateway, "me") == "stable"
    assert errors() == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(1), metadata=[("x-ferry-variant", "canary")])
    assert caught.value.code() is grpc.StatusCode[code]


async def test_a_canary_that_fails_does_not_fail_who_asks_stable_for_the_same_at_once(tracks):
    """Both run the same pipeline, as with a canary of another image."""
    tracks.canary.fingerprint = tracks.stable.fingerprint
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    fell_to = dict(zip(await variants_of(gateway, bypass_cache=True), CALLERS, strict=True))
    before = len(tracks.stable.requests), len(tracks.canary.requests)
    tracks.stable.gate.clear()
    tracks.canary.gate.clear()

    async def fail(fake, request, context):
        await refuse(context, ServiceError("broken"))

    tracks.canary.behave = fail
    calls = []
    for name, asked in (("canary", tracks.canary), ("stable", tracks.stable)):
        calls.append(asyncio.create_task(gateway.recognize(jpeg(7), metadata=[("x-ferry-key", fell_to[name])])))
        known = before[name == "canary"]
        await eventually(lambda asked=asked, known=known: len(asked.requests) == known + 1)
    errors = Counted("ferry_variant_errors_total", {"variant": "stable", "code": "INTERNAL"})
    tracks.canary.gate.set()
    tracks.stable.gate.set()
    assert [(await call).variant for call in calls] == ["stable", "stable"]
    assert errors() == 0


async def test_what_is_wrong_with_a_request_is_not_asked_twice(tracks):
    async def refuse_it(fake, request, context):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "image: is no picture")

    tracks.canary.behave = refuse_it
    tracks.write(stable=0, canary=1)
    gateway = await tracks.gateway()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await variant_of(gateway, "me")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not tracks.stable.requests


async def test_when_stable_is_gone_the_canary_does_not_take_its_callers(tracks):
    tracks.addresses["stable"] = GONE
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    outcomes = set()
    for caller in CALLERS:
        try:
            outcomes.add(await variant_of(gateway, caller))
        except grpc.aio.AioRpcError as error:
            outcomes.add(error.code())
    assert outcomes == {"canary", grpc.StatusCode.UNAVAILABLE}


async def test_a_shadow_gets_copies_and_nobody_sees_its_answers(tracks):
    tracks.write(shadow=1.0, stable=1, canary=0)
    copies = Counted("ferry_shadow_total", {"variant": "canary", "result": "ok"})
    gateway = await tracks.gateway()
    answers = [await gateway.recognize(jpeg(shade)) for shade in (1, 2, 2)]
    assert {answer.variant for answer in answers} == {"stable"}
    await eventually(lambda: copies() == 2)  # the third came from the cache
    assert {r.image for r in tracks.canary.requests} == {jpeg(1), jpeg(2)}


async def test_an_image_that_is_asked_about_again_for_want_of_time_is_copied_once(tracks):
    tracks.write(shadow=1.0, stable=1, canary=0)
    gateway = await tracks.gateway()
    tracks.stable.behave = leaves_out_who_is_late
    hasty = asyncio.create_task(gateway.recognize(jpeg(), timeout=0.5))
    await eventually(lambda: len(tracks.stable.requests) == 1)
    patient = asyncio.create_task(gateway.recognize(jpeg()))
    assert [(await call).degraded for call in (hasty, patient)] == [True, False]
    await gateway.recognize(jpeg(1))
    await eventually(lambda: [r.image for r in tracks.canary.requests[-1:]] == [jpeg(1)])
    assert (len(tracks.stable.requests), len(tracks.canary.requests)) == (3, 2)


async def test_a_shadow_that_hangs_or_fails_delays_nobody_and_what_is_too_much_is_dropped(tracks):
    tracks.canary.gate.clear()
    tracks.write(shadow=1.0, stable=1, canary=0)
    dropped = Counted("ferry_shadow_total", {"variant": "canary", "result": "dropped"})
    failed = Counted("ferry_shadow_total", {"variant": "canary", "result": "error"})
    gateway = await tracks.gateway(shadow_concurrency=2)
    for shade in range(5):
        assert (await gateway.recognize(jpeg(shade))).variant == "stable"
    assert dropped() == 3

    async def fail(fake, request, context):
        await context.abort(grpc.StatusCode.INTERNAL, "out of order")

    tracks.canary.behave = fail
    tracks.canary.gate.set()
    await eventually(lambda: failed() == 2)


async def test_a_copy_has_its_own_time_and_not_the_caller_s(tracks):
    tracks.canary.gate.clear()
    tracks.write(shadow=1.0, stable=1, canary=0)
    gateway = await tracks.gateway()
    copies = Counted("ferry_shadow_total", {"variant": "canary", "result": "ok"})
    await gateway.recognize(jpeg(), timeout=5)
    await eventually(lambda: len(tracks.canary.requests) == 1)
    assert tracks.canary.remaining[0] > 5
    tracks.canary.gate.set()
    await eventually(lambda: copies() == 1)


async def test_whoever_is_refused_is_given_to_nobody_and_nobody_stands_in(tracks):
    tracks.addresses["canary"] = GONE
    tracks.write(stable=0, canary=1)
    gateway = await tracks.gateway(max_concurrency=1)
    await gateway.recognize(jpeg(1))
    given = Counted("ferry_exposures_total", {"variant": "canary", "assigned": "random"})
    fallbacks = Counted("ferry_variant_fallbacks_total", {"variant": "canary"})
    tracks.stable.gate.clear()
    asking = asyncio.create_task(gateway.recognize(jpeg(2)))
    await eventually(lambda: len(tracks.stable.requests) == 2)
    with pytest.raises(grpc.aio.AioRpcError, match="too many images"):
        await gateway.recognize(jpeg(3))
    tracks.stable.gate.set()
    await asking
    assert (given(), fallbacks()) == (1, 1)


async def test_where_a_variant_decodes_in_the_gateway_itself_an_image_that_one_was_lost_with_stays_a_suspect(tracks):
    tracks.write(stable=1, canary=0)
    lost = [("x-ferry-lost", "1")]
    await (await tracks.gateway()).recognize(jpeg(), metadata=lost)
    tracks.addresses["canary"] = "local:ensembler"
    tracks.write(stable=1, canary=0)
    await (await tracks.gateway()).recognize(jpeg(), metadata=lost)
    assert tracks.stable.lost == ["", "1"]


async def test_a_suspect_is_not_copied(tracks):
    tracks.write(shadow=1.0, stable=1, canary=0)
    gateway = await tracks.gateway()
    copied = Counted("ferry_shadow_total", {"variant": "canary", "result": "ok"})
    await gateway.recognize(png(), metadata=[("x-ferry-lost", "1")])
    await gateway.recognize(png(shade=1))
    await eventually(lambda: copied() == 1)
    assert [request.image for request in tracks.canary.requests] == [png(shade=1)]
