"""Frames of a video: the newest wins, each fails for itself, and a stream ends without an error."""

import asyncio
import hashlib
from contextlib import AsyncExitStack

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import ensembler_pb2, gateway_pb2, gateway_pb2_grpc
from gateway.newest import Newest
from gateway.recognize.stream import MAX_FRAME_BYTES
from serving.errors import InvalidArgumentError, OverloadedError, UpstreamError
from tests.circles import no_circles
from tests.gateway.fakes import Counted, detail, eventually, jpeg, refuse


def frame(number, image=None, **fields):
    image = jpeg(number) if image is None else image
    return gateway_pb2.RecognizeStreamRequest(
        frame_id=number, request=gateway_pb2.RecognizeRequest(image=image, **fields)
    )


def opened(gateway, **call):
    return gateway.stub.RecognizeStream(**({"timeout": 20} | call))


async def arrived(gateway):
    """When a call that was sent after a frame is answered, the frame is there."""
    await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)


async def test_each_frame_is_answered_under_its_number_with_a_name_of_its_own(ensembler, gateway):
    call = opened(gateway, metadata=(("x-request-id", "camera-seven"),))
    for number in (3, 4, 90):
        await call.write(frame(number, options=ensembler_pb2.RecognizeOptions(max_faces=4)))
        answer = await call.read()
        assert (answer.frame_id, answer.dropped_frames, len(answer.response.faces)) == (number, 0, 1)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert ensembler.request_ids == ["camera-seven.0", "camera-seven.1", "camera-seven.2"]
    assert {request.options.max_faces for request in ensembler.requests} == {4}


async def test_the_newest_frame_wins(ensembler, gateway):
    ensembler.gate.clear()
    call = opened(gateway)
    await call.write(frame(0))
    await eventually(lambda: len(ensembler.requests) == 1)
    for number in range(1, 6):
        await call.write(frame(number))
    await arrived(gateway)
    ensembler.gate.set()
    answers = [await call.read() for _ in range(2)]
    assert [(answer.frame_id, answer.dropped_frames) for answer in answers] == [(0, 0), (5, 4)]
    assert [request.image for request in ensembler.requests] == [jpeg(0), jpeg(5)]


async def test_the_last_frame_is_answered_after_its_caller_has_ended(ensembler, gateway):
    ensembler.gate.clear()
    call = opened(gateway)
    for number in range(3):
        await call.write(frame(number))
    await call.done_writing()
    await arrived(gateway)
    ensembler.gate.set()
    assert [answer.frame_id async for answer in call][-1] == 2


async def test_a_frame_that_fails_fails_alone(gateway):
    call = opened(gateway)
    told = []
    wrong = ensembler_pb2.RecognizeOptions(max_faces=1000)
    for sent in (
        frame(0, b"no picture"),
        frame(1, b""),
        frame(2, options=wrong),
        frame(3, bytes(MAX_FRAME_BYTES + 1)),
        frame(4),
    ):
        await call.write(sent)
        answer = await call.read()
        told.append((answer.frame_id, answer.error.code, answer.error.field))
    assert told == [(0, 3, "image"), (1, 3, "image"), (2, 3, "options.max_faces"), (3, 3, "image"), (4, 0, "")]


async def test_a_frame_that_finds_no_room_is_told_so_and_the_next_one_answered(ensembler, start_gateway):
    gateway = await start_gateway(max_concurrency=1)
    ensembler.gate.clear()
    other = asyncio.create_task(gateway.recognize(jpeg(200)))
    await eventually(lambda: len(ensembler.requests) == 1)
    call = opened(gateway)
    await call.write(frame(0))
    assert (await call.read()).error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    ensembler.gate.set()
    await other
    await call.write(frame(1))
    assert (await call.read()).HasField("response")


async def test_a_frame_has_a_deadline_of_its_own(ensembler, start_gateway):
    gateway = await start_gateway(default_timeout=1.0)
    ensembler.gate.clear()
    call = opened(gateway)
    await call.write(frame(0))
    assert (await call.read()).error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert ensembler.remaining[0] <= 1.01
    ensembler.gate.set()
    await call.write(frame(1))
    assert (await call.read()).HasField("response")


async def test_a_caller_that_leaves_stops_its_frame(ensembler, gateway):
    ensembler.gate.clear()
    call = opened(gateway)
    await call.write(frame(0))
    await eventually(lambda: len(ensembler.requests) == 1)
    call.cancel()
    await eventually(lambda: ensembler.cancelled == 1)
    await eventually(lambda: gateway.service._admission.images == 0)


@pytest.mark.parametrize("second", [7, 6, 0])
async def test_numbers_of_frames_rise(gateway, second):
    call = opened(gateway)
    await call.write(frame(7))
    assert (await call.read()).frame_id == 7
    await call.write(frame(second))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, error_details_pb2.BadRequest).field_violations[0].field == "frame_id"


async def test_streams_are_bounded_and_take_no_place_of_other_calls(start_gateway):
    gateway = await start_gateway(max_streams=2, max_receive_bytes=1 << 20)  # one message at once
    calls = [opened(gateway) for _ in range(2)]
    for call in calls:
        await call.write(frame(0))
        await call.read()
    refused = Counted("ferry_rejected_total", {"reason": "calls"})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await opened(gateway).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    assert refused() == 1
    assert (await gateway.recognize(jpeg(9))).faces
    for call in calls:
        await call.write(frame(1))
        assert (await call.read()).frame_id == 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    again = opened(gateway)
    await again.write(frame(0))
    assert (await again.read()).frame_id == 0


async def test_streams_on_which_nothing_comes_give_way_to_a_new_one(start_gateway, monkeypatch):
    monkeypatch.setattr("serving.rpc.lanes.QUIET_SECONDS", 0.0)
    gateway = await start_gateway(max_streams=3)
    silent = [opened(gateway) for _ in range(2)]
    for call in silent:
        await call.write(frame(0))
        await call.read()
    never = opened(gateway)
    await arrived(gateway)
    await silent[0].write(frame(1))
    await silent[0].read()
    fresh = []
    for number in range(2):
        fresh.append(opened(gateway))
        await fresh[-1].write(frame(number))
        assert (await fresh[-1].read()).HasField("response")
    for call in (silent[1], never):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "others wait" in caught.value.details()
        assert detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    await silent[0].write(frame(2))
    assert (await silent[0].read()).frame_id == 2


async def streaming(stub):
    """A stream on which frames come and are answered."""
    call = stub.RecognizeStream(timeout=20)
    await call.write(frame(0))
    assert (await call.read()).HasField("response")
    return call


async def test_whoever_holds_all_streams_leaves_a_fair_share_to_others(start_gateway):
    gateway = await start_gateway(max_streams=4)
    many = [await streaming(gateway.stub) for _ in range(4)]
    alone = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.server.port}", options=alone) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        others = [await streaming(stub) for _ in range(2)]
        for gone in many[:2]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await gone.read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "others have fewer" in caught.value.details()
            assert detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
        for each in (gateway.stub, stub):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await each.RecognizeStream(timeout=20).read()
            assert "too many calls" in caught.value.details()
        for call in (*many[2:], *others):
            await call.write(frame(1))
            assert (await call.read()).frame_id == 1


async def test_callers_share_streams_whatever_connections_they_have(start_gateway, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("shop", "lab")))
    gateway = await start_gateway(max_streams=3, api_keys=keys)

    async def opened_by(name, stub=gateway.stub):
        call = stub.RecognizeStream(timeout=20, metadata=(("authorization", f"Bearer {name}"),))
        await call.write(frame(0))
        assert (await call.read()).HasField("response")
        return call

    async with AsyncExitStack() as stack:
        many = []
        for number in range(3):
            options = [("grpc.use_local_subchannel_pool", 1), ("ferry.number", number)]
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.server.port}", options=options)
            stub = gateway_pb2_grpc.ExpressionRecognitionStub(await stack.enter_async_context(channel))
            many.append(await opened_by("shop", stub))
        lab = await opened_by("lab")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await many[0].read()
        assert "others have fewer" in caught.value.details()
        for call in (*many[1:], lab):
            await call.write(frame(1))
            assert (await call.read()).frame_id == 1


@pytest.mark.parametrize("settings", [{"receive_timeout": 0.1}, {"max_stream_age": 2.0}, {"max_timeout": 0.1}])
async def test_a_stream_that_has_had_its_time_ends_without_an_error(start_gateway, settings):
    gateway = await start_gateway(**settings)
    call = opened(gateway, timeout=None)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_gateway_that_stops_answers_the_last_frame_and_ends_its_streams(ensembler, start_gateway):
    gateway = await start_gateway(grace=20)
    ensembler.gate.clear()
    call = opened(gateway)
    await call.write(frame(0))
    await eventually(lambda: len(ensembler.requests) == 1)
    stopping = asyncio.create_task(gateway.server.stop())
    await eventually(gateway.service._closing.is_set)
    ensembler.gate.set()
    assert (await call.read()).HasField("response")
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    async with asyncio.timeout(10):
        await stopping


@pytest.mark.parametrize("kind", [UpstreamError, InvalidArgumentError])
async def test_no_error_of_a_stream_is_kept(ensembler, gateway, kind):
    async def overloaded(fake, request, context):
        await refuse(context, OverloadedError("no room", 0.1))

    ensembler.behave = overloaded
    with no_circles(kind):
        call = opened(gateway)
        for number in range(2):
            await call.write(frame(number))
            assert (await call.read()).HasField("error")
        await call.write(frame(0))
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        await eventually(lambda: gateway.service._admission.images == 0)


async def test_the_newest_counts_what_gave_way_and_ends():
    newest = Newest()
    for item in "abc":
        newest.put(item)
    taken = await newest.take()
    assert (taken.number, taken.dropped, taken.item) == (2, 2, "c")
    newest.put("d")
    newest.end()
    newest.put("too late")
    taken = await newest.take()
    assert (taken.number, taken.dropped, taken.item) == (3, 0, "d")
    assert await newest.take() is None
    assert await newest.take() is None
