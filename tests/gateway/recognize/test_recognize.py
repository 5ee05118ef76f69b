"""One image through a running gateway: what is asked, what is answered, what is kept."""

import asyncio
import re

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import ensembler_pb2, types_pb2
from serving.errors import UnavailableError, UpstreamError
from tests.circles import no_circles
from tests.gateway.fakes import Counted, detail, eventually, jpeg, leaves_out_who_is_late, png, refuse
from tests.serving.peer import connected


async def test_an_answer_says_who_made_it_and_how_long_it_took(gateway):
    answer = await gateway.recognize(jpeg())
    assert [face.expression for face in answer.faces] == [types_pb2.EXPRESSION_HAPPY]
    assert (answer.image_size.width, answer.image_size.height) == (64, 48)
    assert answer.models[0].name == "efficientnet"
    assert (answer.variant, answer.fingerprint, answer.cached, answer.degraded) == ("stable", "a" * 64, False, False)
    assert answer.timings.total_ms >= answer.timings.ensembler_ms > 0
    assert answer.timings.detector_ms == 3
    assert re.fullmatch("[0-9a-f]{32}", answer.request_id)


async def test_the_image_and_its_options_reach_the_ensembler_unchanged(ensembler, gateway):
    options = ensembler_pb2.RecognizeOptions(max_faces=3, min_face_size=20, vote=types_pb2.VOTE_HARD)
    await gateway.recognize(jpeg(7), options=options)
    assert ensembler.requests == [ensembler_pb2.EnsemblerRecognizeRequest(image=jpeg(7), options=options)]


async def test_deadline_and_request_id_go_along(ensembler, gateway):
    answer = await gateway.recognize(jpeg(), timeout=7, metadata=[("x-request-id", "caller-0001")])
    assert answer.request_id == "caller-0001"
    assert ensembler.request_ids == ["caller-0001"]
    assert 5 < ensembler.remaining[0] < 7.5


async def test_the_same_image_is_answered_from_the_cache(ensembler, gateway):
    hits = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "hit"})
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    faces = Counted("ferry_predictions_total", {"variant": "stable", "expression": "happy"})
    hit_times = Counted("ferry_prediction_latency_seconds_count", {"variant": "stable", "cache": "hit"})
    first, second = [await gateway.recognize(jpeg()) for _ in range(2)]
    assert (first.cached, second.cached) == (False, True)
    assert second.faces == first.faces
    assert second.models == first.models
    assert second.fingerprint == first.fingerprint
    assert second.request_id != first.request_id
    assert second.timings.ensembler_ms == second.timings.detector_ms == 0 < second.timings.total_ms
    assert len(ensembler.requests) == 1
    assert (hits(), misses(), faces(), hit_times()) == (1, 1, 2, 1)


async def test_other_options_are_another_question(gateway):
    await gateway.recognize(jpeg())
    answer = await gateway.recognize(jpeg(), options=ensembler_pb2.RecognizeOptions(test_time_augmentation=True))
    assert not answer.cached


async def test_bypassing_neither_reads_nor_writes(ensembler, gateway):
    await gateway.recognize(jpeg(), bypass_cache=True)
    assert not (await gateway.recognize(jpeg())).cached
    assert not (await gateway.recognize(jpeg(), bypass_cache=True)).cached
    assert len(ensembler.requests) == 3


async def test_without_a_cache_every_image_is_asked(start_gateway):
    gateway = await start_gateway(cache_enabled=False)
    assert not any([(await gateway.recognize(jpeg())).cached for _ in range(2)])


async def test_a_degraded_answer_is_given_but_not_kept(ensembler, gateway):
    ensembler.degraded = True
    assert (await gateway.recognize(jpeg())).degraded
    ensembler.degraded = False
    answer = await gateway.recognize(jpeg())
    assert (answer.degraded, answer.cached) == (False, False)


async def test_an_error_is_passed_on_and_not_kept(ensembler, gateway):
    async def refuse(fake, request, context):
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")

    ensembler.behave = refuse
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "the queue is full"
    ensembler.behave = None
    assert not (await gateway.recognize(jpeg())).cached


async def test_a_new_pipeline_is_noticed_and_never_answered_for_by_the_old_one(ensembler, start_gateway):
    gateway = await start_gateway(pipeline_interval=0.01)
    await gateway.recognize(jpeg())
    ensembler.fingerprint = "b" * 64
    await eventually(lambda: gateway.service._router.stable.fingerprint == "b" * 64)
    answer = await gateway.recognize(jpeg())
    assert (answer.cached, answer.fingerprint) == (False, "b" * 64)


async def test_an_answer_corrects_the_pipeline_that_was_expected(ensembler, start_gateway):
    gateway = await start_gateway(pipeline_interval=3600)
    await gateway.recognize(jpeg(1))
    ensembler.fingerprint = "b" * 64
    # The gateway has not asked since: the answer itself tells it, and is kept under what it says.
    assert (await gateway.recognize(jpeg(2))).fingerprint == "b" * 64
    assert (await gateway.recognize(jpeg(2))).cached
    assert not (await gateway.recognize(jpeg(1))).cached


async def test_a_late_answer_of_the_old_pipeline_does_not_undo_a_rollout(ensembler, start_gateway):
    gateway = await start_gateway(pipeline_interval=3600)
    ensembler.gate.clear()
    slow = asyncio.create_task(gateway.recognize(jpeg(1)))
    await eventually(lambda: len(ensembler.requests) == 1)
    ensembler.fingerprint = "b" * 64
    new = asyncio.create_task(gateway.recognize(jpeg(2)))
    await eventually(lambda: len(ensembler.requests) == 2)
    ensembler.gate.set()
    assert ((await new).fingerprint, (await slow).fingerprint) == ("b" * 64, "a" * 64)
    assert (await gateway.recognize(jpeg(2))).cached
    assert not (await gateway.recognize(jpeg(1))).cached


async def test_the_first_answer_is_kept_although_looks_at_the_pipeline_overtook_it(ensembler, start_gateway):
    """An ensembler just started does not know its models; the first answer does, and takes longer than a look."""
    known, ensembler.fingerprint = ensembler.fingerprint, ""
    gateway = await start_gateway(pipeline_interval=0.01)
    ensembler.gate.clear()
    first = asyncio.create_task(gateway.recognize(jpeg()))
    await eventually(lambda: len(ensembler.requests) == 1)
    looks = ensembler.looks
    await eventually(lambda: ensembler.looks >= looks + 2)
    # No further look helps: what the answer says has to be enough.
    ensembler.pipeline_known, ensembler.answered = False, known
    ensembler.gate.set()
    assert ((await first).fingerprint, (await first).cached) == (known, False)
    assert (await gateway.recognize(jpeg())).cached


async def test_while_the_pipeline_is_unknown_nothing_is_cached(ensembler, start_gateway):
    ensembler.fingerprint = ""
    gateway = await start_gateway(pipeline_interval=3600)
    assert not any([(await gateway.recognize(jpeg())).cached for _ in range(2)])
    assert len(ensembler.requests) == 2


async def test_identical_images_in_flight_are_computed_once(ensembler, gateway):
    coalesced = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "coalesced"})
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    ensembler.gate.clear()
    calls = [asyncio.create_task(gateway.recognize(jpeg())) for _ in range(8)]
    await eventually(lambda: misses() == 8)
    ensembler.gate.set()
    answers = await asyncio.gather(*calls)
    assert len(ensembler.requests) == 1
    assert len({answer.request_id for answer in answers}) == 8
    assert coalesced() == 7


async def test_the_first_caller_may_leave_and_the_others_are_answered(ensembler, gateway):
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    ensembler.gate.clear()
    first = asyncio.create_task(gateway.recognize(jpeg()))
    await eventually(lambda: len(ensembler.requests) == 1)
    second = asyncio.create_task(gateway.recognize(jpeg()))
    await eventually(lambda: misses() == 2)
    first.cancel()
    await asyncio.wait([first])
    await eventually(lambda: gateway.service._admission.images == 1)
    ensembler.gate.set()
    assert len((await second).faces) == 1
    assert (len(ensembler.requests), ensembler.cancelled) == (1, 0)


async def test_when_all_callers_leave_the_pipeline_stops(ensembler, gateway):
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    ensembler.gate.clear()
    calls = [asyncio.create_task(gateway.recognize(jpeg())) for _ in range(3)]
    await eventually(lambda: misses() == 3 and len(ensembler.requests) == 1)
    for call in calls:
        call.cancel()
    await eventually(lambda: ensembler.cancelled == 1)


async def test_a_caller_out_of_time_fails_alone(ensembler, gateway):
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    ensembler.gate.clear()
    patient = asyncio.create_task(gateway.recognize(jpeg()))
    await eventually(lambda: misses() == 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(), timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    ensembler.gate.set()
    assert len((await patient).faces) == 1
    assert len(ensembler.requests) == 1


async def test_the_first_callers_deadline_does_not_become_the_others(ensembler, gateway):
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    ensembler.gate.clear()
    hasty = asyncio.create_task(gateway.recognize(jpeg(), timeout=1.0))
    await eventually(lambda: len(ensembler.requests) == 1)
    patient = [asyncio.create_task(gateway.recognize(jpeg())) for _ in range(3)]
    await eventually(lambda: misses() == 4)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await hasty
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # Once with the hasty caller's time, once more with that of the patient ones.
    await eventually(lambda: len(ensembler.requests) == 2)
    ensembler.gate.set()
    assert all([len((await call).faces) == 1 for call in patient])
    assert len(ensembler.requests) == 2
    assert ensembler.remaining[0] < 2 < ensembler.remaining[1]


async def test_who_has_time_is_not_given_what_a_hasty_caller_had_no_time_for(ensembler, gateway):
    counted = Counted("ferry_faces_per_image_count", {"variant": "stable"})

    ensembler.behave = leaves_out_who_is_late
    hasty = asyncio.create_task(gateway.recognize(jpeg(), timeout=0.5))
    await eventually(lambda: len(ensembler.requests) == 1)
    patient = [asyncio.create_task(gateway.recognize(jpeg())) for _ in range(3)]
    assert (await hasty).degraded
    assert not any([(await call).degraded for call in patient])
    assert len(ensembler.requests) == 2
    assert counted() == 1, "it is one image"


async def test_a_classifier_that_is_away_is_asked_for_once_however_much_time_the_others_have(ensembler, gateway):
    misses = Counted("ferry_cache_requests_total", {"tier": "memory", "result": "miss"})
    ensembler.degraded = True
    ensembler.gate.clear()
    calls = [asyncio.create_task(gateway.recognize(jpeg(), timeout=timeout)) for timeout in (10, 30, 30)]
    await eventually(lambda: misses() == 3)
    ensembler.gate.set()
    assert all([(await call).degraded for call in calls])
    assert len(ensembler.requests) == 1


async def test_an_ensembler_that_is_not_there_is_said_to_be(start_gateway):
    gateway = await start_gateway(ensembler="127.0.0.1:1", patience=0.1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "ensembler" in caught.value.details()


async def test_too_much_at_once_is_shed_at_once(ensembler, start_gateway):
    gateway = await start_gateway(max_concurrency=1)
    shed = Counted("ferry_rejected_total", {"reason": "overload"})
    ensembler.gate.clear()
    first = asyncio.create_task(gateway.recognize(jpeg(1)))
    await eventually(lambda: len(ensembler.requests) == 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(2))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    assert shed() == 1
    ensembler.gate.set()
    await first
    assert len((await gateway.recognize(jpeg(2))).faces) == 1


async def test_what_is_kept_is_answered_however_much_there_is_to_do(ensembler, start_gateway):
    gateway = await start_gateway(max_concurrency=1)
    given = Counted("ferry_exposures_total", {"variant": "stable", "assigned": "random"})
    await gateway.recognize(jpeg(1))
    ensembler.gate.clear()
    asking = asyncio.create_task(gateway.recognize(jpeg(2)))
    await eventually(lambda: len(ensembler.requests) == 2)
    assert (await gateway.recognize(jpeg(1))).cached
    for image, fields in ((jpeg(3), {}), (jpeg(1), {"bypass_cache": True})):
        with pytest.raises(grpc.aio.AioRpcError, match="too many images"):
            await gateway.recognize(image, **fields)
    ensembler.gate.set()
    await asking
    assert given() == 3, "whoever is refused is given to nobody"


async def test_where_hardly_anything_is_kept_too_much_is_refused_before_its_image_comes(ensembler, start_gateway):
    gateway = await start_gateway(max_concurrency=1)
    for shade in range(100):
        await gateway.recognize(jpeg(shade))
    ensembler.gate.clear()
    asking = asyncio.create_task(gateway.recognize(jpeg(100)))
    await eventually(lambda: len(ensembler.requests) == 101)
    async with connected(gateway.port) as peer:
        stream = await peer.call("/ferry.v1.ExpressionRecognition/Recognize")
        status, message = await peer.status(stream)
    assert (status, message) == (8, "too many images in flight; try again shortly")
    ensembler.gate.set()
    await asking
    assert (await gateway.recognize(jpeg(100))).cached
    for _ in range(100):  # says nothing of what is kept for others
        await gateway.recognize(jpeg(1), bypass_cache=True)
    ensembler.gate.clear()
    asking = asyncio.create_task(gateway.recognize(jpeg(101)))
    await eventually(lambda: len(ensembler.requests) == 202)
    assert (await gateway.recognize(jpeg(100))).cached, "one of the last hundred was kept, so all are looked at"
    ensembler.gate.set()
    await asking


async def test_the_header_of_an_image_that_a_replica_was_lost_with_is_left_to_the_detector(ensembler, gateway):
    with pytest.raises(grpc.aio.AioRpcError, match="not a readable"):
        await gateway.recognize(b"x" * 99)
    await gateway.recognize(b"x" * 99, metadata=[("x-ferry-lost", "1")])
    assert [request.image for request in ensembler.requests] == [b"x" * 99]


async def test_an_ordinary_jpeg_is_not_held_to_be_what_a_gateway_was_lost_by(ensembler, gateway):
    """Gateways look at its header in Python alone; who waits a second has no time for processes of its own."""
    lost = [("x-ferry-lost", "1")]
    await gateway.recognize(jpeg(), metadata=lost)
    await gateway.recognize(png(), metadata=lost)
    assert ensembler.lost == ["", "1"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [("10485761", "10,485,761 bytes, more than 10,485,760 bytes"), ("99999999999", "93.1 GiB, more than 10 MiB")],
)
async def test_an_image_announced_as_too_large_is_refused_before_it_is_sent(gateway, said, shown):
    async with connected(gateway.port) as peer:
        stream = await peer.call("/ferry.v1.ExpressionRecognition/Recognize", ("x-ferry-image-bytes", said))
        status, message = await peer.status(stream)
    assert (status, message) == (3, f"image: is {shown}; send a smaller or more compressed copy")


@pytest.mark.parametrize("said", ["10485760", "", "-1", "many", "9" * 100])
async def test_what_is_announced_otherwise_is_looked_at_when_it_is_here(gateway, said):
    assert (await gateway.recognize(jpeg(), metadata=[("x-ferry-image-bytes", said)])).faces


@pytest.mark.parametrize("bypass_cache", [False, True])
async def test_an_image_that_fails_is_let_go_of_at_once(ensembler, gateway, bypass_cache):
    """Not when the collector of circles comes by: sixteen large images would be half a gigabyte until then."""

    async def refuse_all(fake, request, context):
        await refuse(context, UnavailableError("no model answered"))

    ensembler.behave = refuse_all
    with no_circles(UpstreamError):
        for shade in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await gateway.recognize(jpeg(shade), bypass_cache=bypass_cache)
        await asyncio.sleep(0.05)
