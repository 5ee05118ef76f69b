"""Copies for a shadow: compared with the original, kept as pairs, and the first to go where room is scarce."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from ferry.v1 import types_pb2
from gateway.admission.in_flight import InFlight
from gateway.admission.permit import Call
from gateway.experiments import names
from gateway.experiments.comparison import compare
from gateway.experiments.record import pair_of
from serving.errors import OverloadedError
from tests.gateway.experiments.conftest import exposures, written
from tests.gateway.fakes import Counted, eventually, jpeg
from tests.gateway.routing.conftest import tracks

__all__ = ["tracks"]


def face(x: float, width: float = 10.0) -> types_pb2.Face:
    return types_pb2.Face(box=types_pb2.BoundingBox(x_min=x, y_min=0, x_max=x + width, y_max=10))


def test_faces_are_matched_by_overlap_each_once():
    found = compare([face(0), face(100), face(200)], [face(201), face(1), face(2), face(400)])
    assert found.matched == ((0, 1), (2, 0))
    assert (found.only_original, found.only_shadow) == (1, 2)


def test_half_of_a_face_is_another_face():
    assert compare([face(0)], [face(5)]).matched == ()
    assert compare([], [face(5)]).only_shadow == 1
    assert compare([face(0, 0)], [face(0, 0)]).matched == (), "a box without an inside is nobody's"


def test_a_copy_goes_when_a_call_needs_its_room():
    room, dropped = InFlight(2, 1000), []
    first = room.spare(10, lambda: dropped.append(1))
    second = room.spare(10, lambda: dropped.append(2))
    assert first is not None
    assert second is not None
    assert room.spare(10, lambda: None) is None, "no copy takes another's place"
    room.take(Call(1, 10))
    assert dropped == [2]
    room.take(Call(1, 10))
    assert dropped == [2, 1]
    first()
    second()
    assert room.images == 2, "what was taken back is not given back again"
    with pytest.raises(OverloadedError):
        room.take(Call(1, 10))
    assert room.spare(10, lambda: None) is None


async def test_a_shadow_is_compared_and_the_pair_kept(tracks, url, redis):
    tracks.write(shadow=1.0, stable=1, canary=0)
    agree = Counted("ferry_shadow_faces_total", {"variant": "canary", "result": "agree"})
    gateway = await tracks.gateway(redis_url=url, record_exposures=True, redis_timeout=2.0)
    for fake in (tracks.stable, tracks.canary):
        fake.box = types_pb2.BoundingBox(x_min=1, y_min=1, x_max=20, y_max=20)
    answer = await gateway.recognize(jpeg(1), metadata=(("x-ferry-key", "camera-17"),))
    await eventually(lambda: agree() == 1)
    await written(gateway)
    (pair,) = pairs(redis)
    assert (pair.request_id, pair.variant, pair.shadow) == (answer.request_id, "stable", "canary")
    assert (pair.fingerprint, pair.shadow_fingerprint) == ("a" * 16, "c" * 16)
    ((index, ours, theirs),) = pair.matched
    assert (index, ours[0], theirs[0]) == (0, 4, 4)
    assert pair.milliseconds > 0
    assert pair.shadow_milliseconds > 0
    assert pair.caller == exposures(redis)[answer.request_id].caller


async def test_a_copy_under_way_makes_room_for_a_caller(tracks):
    tracks.write(shadow=1.0, stable=1, canary=0)
    dropped = Counted("ferry_shadow_total", {"variant": "canary", "result": "dropped"})
    gateway = await tracks.gateway(max_concurrency=2)
    tracks.canary.gate.clear()
    await gateway.recognize(jpeg(1))
    await eventually(lambda: len(tracks.canary.requests) == 1)
    tracks.stable.gate.clear()
    calls = [asyncio.create_task(gateway.recognize(jpeg(shade))) for shade in (2, 3)]
    await eventually(lambda: len(tracks.stable.requests) == 3)
    await eventually(lambda: tracks.canary.cancelled == 1)
    assert dropped() == 1
    assert gateway.service._admission.images == 2
    tracks.stable.gate.set()
    assert all(answer.faces for answer in await asyncio.gather(*calls))


async def test_a_pair_is_kept_where_its_answer_is_so_that_it_can_be_labelled(tracks, url, redis):
    tracks.write(shadow=1.0, stable=1, canary=0)
    copied = Counted("ferry_shadow_total", {"variant": "canary", "result": "ok"})
    gateway = await tracks.gateway(redis_url=url, record_exposures=True, redis_timeout=2.0, record_rate=1.0)
    for shade in range(8):
        await gateway.recognize(jpeg(shade))
    await eventually(lambda: copied() == 8)
    await written(gateway)
    kept = exposures(redis)
    assert 1 <= len(kept) < 8
    assert {pair.request_id for pair in pairs(redis)} <= kept.keys()


def pairs(redis: Redis):
    return [pair_of(redis.get(key)) for key in redis.keys(names.record(names.PAIR, "*"))]
