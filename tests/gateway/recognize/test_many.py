"""Many images in one call, each in a message of its own."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import ensembler_pb2, gateway_pb2
from tests.gateway.fakes import detail, eventually, jpeg
from tests.serving.peer import connected, framed


def each(*images, **fields):
    return [
        gateway_pb2.RecognizeManyRequest(request=gateway_pb2.RecognizeRequest(image=image, **fields))
        for image in images
    ]


async def answers_of(gateway, requests):
    return {a.index: a async for a in gateway.stub.RecognizeMany(requests, timeout=20)}


async def test_every_image_is_answered_under_its_index(gateway):
    answers = await answers_of(gateway, each(*map(jpeg, range(40))))
    assert sorted(answers) == list(range(40))
    assert all(len(answer.response.faces) == 1 for answer in answers.values())
    assert len({answer.response.request_id for answer in answers.values()}) == 40


async def test_an_image_is_answered_before_the_next_one_comes(gateway):
    call = gateway.stub.RecognizeMany(timeout=20)
    for index in range(3):
        await call.write(each(jpeg(index))[0])
        assert (await call.read()).index == index
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_an_image_that_fails_fails_alone(gateway):
    requests = each(jpeg(1), b"not an image", b"", jpeg(3))
    requests[2].request.options.CopyFrom(ensembler_pb2.RecognizeOptions(max_faces=1000))
    answers = await answers_of(gateway, requests)
    errors = {i: (a.error.code, a.error.field) for i, a in answers.items() if a.HasField("error")}
    assert errors == {1: (3, "image"), 2: (3, "image")}


async def test_together_they_may_be_larger_than_any_message(start_gateway):
    gateway = await start_gateway(max_image_bytes=100_000)
    padded = [jpeg(shade) + bytes(90_000) for shade in range(12)]
    answers = await answers_of(gateway, each(*padded))
    assert all(answer.HasField("response") for answer in answers.values())
    assert len(answers) == 12
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg() + bytes(200_000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_no_more_are_taken_in_than_are_worked_on(ensembler, start_gateway):
    gateway = await start_gateway(batch_concurrency=2, max_image_bytes=300_000)
    ensembler.gate.clear()
    call = gateway.stub.RecognizeMany(timeout=20)
    written = 0

    async def write():
        nonlocal written
        for shade in range(20):
            await call.write(each(jpeg(shade) + bytes(250_000))[0])
            written += 1
        await call.done_writing()

    writing = asyncio.create_task(write())
    await eventually(lambda: len(ensembler.requests) == 2)
    before = -1
    while written != before:
        before = written
        await asyncio.sleep(0.1)
    assert written < 8
    assert len(ensembler.requests) == 2
    ensembler.gate.set()
    assert len([answer async for answer in call]) == 20
    await writing


@pytest.mark.parametrize("images", [0, 5])
async def test_the_number_of_images_is_bounded(start_gateway, images):
    gateway = await start_gateway(max_batch_images=4)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers_of(gateway, each(*map(jpeg, range(images))))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, error_details_pb2.BadRequest).field_violations[0].field == "requests"


async def test_a_caller_that_leaves_stops_its_images(ensembler, gateway):
    ensembler.gate.clear()
    call = gateway.stub.RecognizeMany(timeout=20)
    for shade in range(3):
        await call.write(each(jpeg(shade))[0])
    await eventually(lambda: len(ensembler.requests) == 3)
    call.cancel()
    await eventually(lambda: ensembler.cancelled == 3)


async def test_an_image_that_does_not_arrive_ends_the_call(start_gateway):
    gateway = await start_gateway(receive_timeout=0.5)
    call = gateway.stub.RecognizeMany(timeout=20)
    await call.write(each(jpeg())[0])
    assert (await call.read()).index == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


MANY = "/ferry.v1.ExpressionRecognition/RecognizeMany"


@pytest.mark.parametrize("kept", [3, 40])
async def test_a_call_that_is_cut_off_within_an_image_is_told_so(gateway, kept):
    """By a broken sender or a proxy; gRPC takes it for the end of the call."""
    requests = each(jpeg(1), jpeg(2))
    requests[0].images = 2
    whole, cut = (framed(request.SerializeToString()) for request in requests)
    async with connected(gateway.port) as peer:
        stream = await peer.call(MANY)
        await peer.send(stream, whole + cut[:kept], end=True)
        status, message = await peer.status(stream)
    assert (status, message) == (3, "requests: ended, perhaps within a message, after 1 of 2 images")


async def test_what_came_before_a_cut_is_answered(gateway):
    requests = each(jpeg(1), jpeg(2))
    requests[0].images = 3
    call = gateway.stub.RecognizeMany(requests, timeout=20)
    assert sorted([(await call.read()).index for _ in range(2)]) == [0, 1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, error_details_pb2.BadRequest).field_violations[0].field == "requests"
