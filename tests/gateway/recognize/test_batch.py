"""Many images in one call."""

import asyncio
import gc
import logging

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import ensembler_pb2, gateway_pb2
from gateway.recognize.batch import recognize_batch
from serving.errors import InvalidArgumentError, UnavailableError
from serving.rpc.context import request_id
from serving.telemetry.logs import _Correlate
from tests.circles import no_circles
from tests.gateway.fakes import detail, eventually, jpeg, refuse


def batch(*images, **fields):
    return gateway_pb2.RecognizeBatchRequest(
        requests=[gateway_pb2.RecognizeRequest(image=image, **fields) for image in images]
    )


async def test_every_image_is_answered_under_its_index(gateway):
    answers = [a async for a in gateway.stub.RecognizeBatch(batch(*map(jpeg, range(20))), timeout=20)]
    assert sorted(answer.index for answer in answers) == list(range(20))
    assert all(len(answer.response.faces) == 1 for answer in answers)
    assert len({answer.response.request_id for answer in answers}) == 20


async def test_answers_come_as_they_are_ready(ensembler, gateway):
    held = asyncio.Event()

    async def hold_the_first(fake, request, context):
        if request.image == jpeg(0):
            await held.wait()

    ensembler.behave = hold_the_first
    call = gateway.stub.RecognizeBatch(batch(jpeg(0), jpeg(1)), timeout=20)
    assert (await call.read()).index == 1
    held.set()
    assert (await call.read()).index == 0


async def test_an_image_that_fails_fails_alone(ensembler, gateway):
    async def refuse_black(fake, request, context):
        if request.image == jpeg(9):
            await refuse(context, UnavailableError("no model answered"))

    ensembler.behave = refuse_black
    bad_options = ensembler_pb2.RecognizeOptions(max_faces=1000)
    request = batch(jpeg(1), b"not an image", jpeg(9), b"")
    request.requests.add(image=jpeg(2), options=bad_options)
    request.requests.add(image=jpeg(3))
    answers = {a.index: a async for a in gateway.stub.RecognizeBatch(request, timeout=20)}
    assert {i for i, answer in answers.items() if answer.HasField("response")} == {0, 5}
    errors = {i: (a.error.code, a.error.field) for i, a in answers.items() if a.HasField("error")}
    assert errors == {1: (3, "image"), 2: (14, ""), 3: (3, "image"), 4: (3, "options.max_faces")}
    assert "not a readable" in answers[1].error.message


async def test_the_field_named_by_a_service_behind_is_passed_on(ensembler, gateway):
    async def refuse_all(fake, request, context):
        await refuse(context, InvalidArgumentError("image", "is truncated"))

    ensembler.behave = refuse_all
    answers = [a async for a in gateway.stub.RecognizeBatch(batch(jpeg()), timeout=20)]
    assert (answers[0].error.code, answers[0].error.field) == (3, "image")
    assert answers[0].error.message == "image: is truncated"


async def test_an_image_that_fails_can_be_found_in_the_log(gateway, caplog):
    caplog.handler.addFilter(_Correlate(request_id))
    with caplog.at_level(logging.INFO):
        call = gateway.stub.RecognizeBatch(
            batch(jpeg(0), b"no picture"), timeout=20, metadata=(("x-request-id", "my-batch-1"),)
        )
        assert len([answer async for answer in call]) == 2
    (record,) = (one for one in caplog.records if one.getMessage() == "call failed")
    assert (record.request_id, record.status, record.field) == ("my-batch-1.1", "INVALID_ARGUMENT", "image")


@pytest.mark.parametrize("defect", [ZeroDivisionError, TimeoutError])
async def test_a_defect_in_one_image_does_not_end_the_batch(gateway, monkeypatch, defect):
    recognize = gateway.service._recognizer.recognize

    async def stumble(request, hints):
        if request.image == jpeg(0):
            raise defect
        return await recognize(request)

    monkeypatch.setattr(gateway.service._recognizer, "recognize", stumble)
    answers = {a.index: a async for a in gateway.stub.RecognizeBatch(batch(jpeg(0), jpeg(1)), timeout=20)}
    assert answers[0].error.code == 13
    assert "request id" in answers[0].error.message
    assert answers[1].HasField("response")


async def test_no_more_than_so_many_are_worked_on_at_once(ensembler, start_gateway):
    gateway = await start_gateway(batch_concurrency=3)
    most = active = 0

    async def watch(fake, request, context):
        nonlocal most, active
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1

    ensembler.behave = watch
    answers = [a async for a in gateway.stub.RecognizeBatch(batch(*map(jpeg, range(12))), timeout=20)]
    assert len(answers) == 12
    assert most <= 3


async def test_images_of_a_batch_count_towards_the_limit(ensembler, start_gateway):
    gateway = await start_gateway(max_concurrency=4, batch_concurrency=4)
    ensembler.gate.clear()
    call = gateway.stub.RecognizeBatch(batch(*map(jpeg, range(8))), timeout=20)
    await eventually(lambda: len(ensembler.requests) == 4)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(99))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    ensembler.gate.set()
    assert len([a async for a in call]) == 8
    await gateway.recognize(jpeg(99))


async def test_leaving_cancels_what_is_outstanding(ensembler, start_gateway):
    gateway = await start_gateway(batch_concurrency=4)
    ensembler.gate.clear()
    call = gateway.stub.RecognizeBatch(batch(*map(jpeg, range(8))), timeout=20)
    await eventually(lambda: len(ensembler.requests) == 4)
    call.cancel()
    await eventually(lambda: ensembler.cancelled == 4)
    await eventually(lambda: gateway.service._admission.images == 0)
    assert len(ensembler.requests) == 4


async def test_a_call_that_has_ended_is_not_worked_for_any_more():
    at_work = 0

    async def requests():
        for shade in range(3):
            yield gateway_pb2.RecognizeRequest(image=jpeg(shade))

    async def recognize(request):
        nonlocal at_work
        if request.image == jpeg(0):
            await eventually(lambda: at_work == 2)
            return gateway_pb2.RecognizeResponse()
        at_work += 1
        try:
            await asyncio.Event().wait()
        finally:
            at_work -= 1

    answers = recognize_batch(requests(), recognize, 3)
    await anext(answers)
    await answers.aclose()
    assert at_work == 0, "its room is given back now"


async def test_requests_that_fail_as_they_are_given_up_leave_no_error_behind():
    leftovers = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: leftovers.append(context["message"]))

    async def requests():
        yield gateway_pb2.RecognizeRequest(image=jpeg())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise UnavailableError("the connection is lost") from None

    async def recognize(request):
        return gateway_pb2.RecognizeResponse()

    answers = recognize_batch(requests(), recognize, 2)
    await anext(answers)
    await answers.aclose()
    del answers
    await asyncio.sleep(0)
    gc.collect()
    assert not leftovers


async def test_who_does_not_read_is_not_worked_for_and_may_leave(ensembler, start_gateway):
    gateway = await start_gateway(batch_concurrency=2, cache_enabled=False)
    ensembler.faces = 60_000
    call = gateway.stub.RecognizeBatch(batch(*map(jpeg, range(200))), timeout=60)
    await call.read()
    call.cancel()
    await eventually(lambda: gateway.service._admission.images == 0)
    assert len(ensembler.requests) < 200


async def test_images_out_of_time_say_so(ensembler, gateway):
    async def hold_the_first(fake, request, context):
        if request.image == jpeg(0):
            await asyncio.Event().wait()

    ensembler.behave = hold_the_first
    call = gateway.stub.RecognizeBatch(batch(jpeg(0), jpeg(1)), timeout=2)
    assert (await call.read()).index == 1
    # The last milliseconds decide whether the item or the whole call reports it.
    try:
        code = (await call.read()).error.code
    except grpc.aio.AioRpcError as error:
        code = error.code().value[0]
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    await eventually(lambda: ensembler.cancelled == 1)


@pytest.mark.parametrize("images", [0, 257])
async def test_a_batch_of_no_or_too_many_images_is_refused(gateway, images):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.RecognizeBatch(batch(*[b"x"] * images), timeout=20).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, error_details_pb2.BadRequest).field_violations[0].field == "requests"


async def test_images_that_are_given_up_are_let_go_of_at_once(ensembler, gateway):
    ensembler.gate.clear()
    with no_circles(asyncio.CancelledError):
        call = gateway.stub.RecognizeBatch(batch(*map(jpeg, range(3))), timeout=20)
        await eventually(lambda: len(ensembler.requests) == 3)
        call.cancel()
        await eventually(lambda: ensembler.cancelled == 3)
        await eventually(lambda: gateway.service._admission.images == 0)
        await asyncio.sleep(0.05)
