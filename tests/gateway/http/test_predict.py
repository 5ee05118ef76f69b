"""`POST /api/predict`: three ways to send an image, options, and the answer."""

import asyncio
import base64
import socket

import httpx
import pytest

from ferry.v1 import types_pb2
from gateway.http.protocol import Protocol
from serving.errors import OverloadedError, UnavailableError
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import Counted, eventually, jpeg, refuse
from tests.gateway.http.conftest import RAW, problem


async def test_the_answer_is_what_the_python_client_gives(http):
    answer = (await http.predict(jpeg())).json()
    (face,) = answer["faces"]
    assert (face["expression"], face["confidence"]) == ("happy", 0.5)
    assert answer["image_size"] == {"width": 64, "height": 48}
    assert answer["models"] == [{"name": "efficientnet", "version": "1", "digest": "d" * 64}]
    assert (answer["variant"], answer["cached"], answer["degraded"]) == ("stable", False, False)
    assert answer["timings"]["total_ms"] > 0


async def test_no_part_of_an_answer_waits_for_the_receiver_to_acknowledge_another(http, monkeypatch):
    """Which would take 40 ms for each answer but the first of a connection."""
    seen, made = [], Protocol.connection_made

    def connection_made(self, transport):
        connection = transport.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(self, transport)

    monkeypatch.setattr(Protocol, "connection_made", connection_made)
    assert (await http.predict(jpeg())).status_code == 200
    assert seen
    assert all(seen)


async def test_no_cache_on_the_way_keeps_an_answer(http):
    for answer in (await http.predict(jpeg()), await http.client.get("/api/status"), await http.predict(b"no picture")):
        assert answer.headers.get_list("cache-control") == ["no-store"]
    assert (await http.client.get("/")).headers.get_list("cache-control") == ["no-cache"]


async def test_all_ways_to_send_an_image_are_one_to_the_cache(http, ensembler):
    url, image = "/api/predict", jpeg()
    encoded = base64.b64encode(image).decode()
    answers = [
        await http.client.post(url, files={"image": ("a.jpg", image)}),
        await http.client.post(url, content=image, headers={"content-type": "application/octet-stream"}),
        await http.client.post(url, json={"image": encoded}),
        await http.client.post(url, json={"image": f"data:image/jpeg;base64,{encoded}"}),
    ]
    assert [answer.json()["cached"] for answer in answers] == [False, True, True, True]
    assert [request.image for request in ensembler.requests] == [image]
    assert (await http.gateway.recognize(image)).cached


async def test_options_in_the_query_a_form_or_json_reach_the_cluster(http, ensembler):
    image, wanted = jpeg(), {"max_faces": 3, "vote": "hard", "test_time_augmentation": True, "bypass_cache": True}
    await http.predict(image, params=wanted)
    await http.client.post("/api/predict", files={"image": image}, data={k: str(v).lower() for k, v in wanted.items()})
    await http.client.post("/api/predict", json={"image": base64.b64encode(image).decode(), **wanted})
    assert len(ensembler.requests) == 3
    for request in ensembler.requests:
        assert (request.options.max_faces, request.options.vote) == (3, types_pb2.VOTE_HARD)
        assert request.options.test_time_augmentation


async def test_a_form_beats_the_query(http, ensembler):
    await http.client.post("/api/predict?max_faces=3&detail=2", files={"image": jpeg()}, data={"max_faces": "5"})
    assert (ensembler.requests[0].options.max_faces, ensembler.requests[0].options.detail) == (5, 2)


async def test_a_large_json_image(start_http, ensembler):
    http = await start_http()
    large = jpeg() + bytes(2 << 20)
    answer = await http.client.post("/api/predict", json={"image": base64.b64encode(large).decode()})
    assert answer.status_code == 200
    assert ensembler.requests[0].image == large


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("max_faces=257", "max_faces", "at most 256"),
        ("max_faces=-1", "max_faces", "at least 0"),
        ("max_faces=many", "max_faces", "whole number"),
        ("min_detection_score=nan", "min_detection_score", "finite"),
        ("vote=loud", "vote", "'soft' or 'hard'"),
        ("bypass_cache=perhaps", "bypass_cache", "true or false"),
        ("max_face=1", "max_face", "not known here"),
        ("timeout=0", "timeout", "more than 0"),
    ],
)
async def test_an_option_that_is_wrong_is_named(http, query, field, said):
    found = problem(await http.predict(jpeg(), params=httpx.QueryParams(query)), 400)
    assert found["field"] == field
    assert said in found["detail"]


async def test_limits_of_the_gateway_are_named_as_http_has_them(start_http):
    http = await start_http(max_faces=5)
    assert problem(await http.predict(jpeg(), params={"max_faces": 6}), 400)["field"] == "max_faces"
    assert problem(await http.predict(b"no image"), 400)["field"] == "image"


async def test_a_request_id_comes_back_and_travels_on(http, ensembler):
    answer = await http.predict(jpeg(), headers={"x-request-id": "my-own-name"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "my-own-name"
    assert ensembler.request_ids == ["my-own-name"]
    found = await http.predict(b"no image", headers={"x-request-id": "my-own-name"})
    assert found.headers["x-request-id"] == found.json()["request_id"] == "my-own-name"


async def test_a_variant_can_be_asked_for(http):
    assert (await http.predict(jpeg(), headers={"x-ferry-variant": "stable"})).json()["variant"] == "stable"
    assert problem(await http.predict(jpeg(), headers={"x-ferry-variant": "none"}), 404)


async def test_the_callers_time_is_the_deadline(http, ensembler):
    ensembler.gate.clear()
    assert problem(await http.predict(jpeg(), params={"timeout": 1.0}), 504)["code"] == "DEADLINE_EXCEEDED"
    assert ensembler.remaining[0] <= 1.0


async def test_overload_says_when_to_come_back(start_http, ensembler):
    http = await start_http(max_concurrency=1)
    ensembler.gate.clear()
    first = asyncio.create_task(http.predict(jpeg(1)))
    await eventually(lambda: bool(ensembler.requests))
    refused = await http.predict(jpeg(2))
    assert problem(refused, 429)["code"] == "RESOURCE_EXHAUSTED"
    assert int(refused.headers["retry-after"]) >= 1
    ensembler.gate.set()
    assert (await first).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"), [(OverloadedError("the queue is full", 2.5), 429), (UnavailableError("no detector"), 503)]
)
async def test_what_a_service_behind_says_is_passed_on(http, ensembler, error, status):
    async def behave(fake, request, context):
        await refuse(context, error)

    ensembler.behave = behave
    answer = await http.predict(jpeg())
    assert error.message in problem(answer, status)["detail"]
    assert int(answer.headers["retry-after"]) == (3 if status == 429 else 1)


async def test_a_caller_who_leaves_stops_the_work(http, ensembler):
    ensembler.gate.clear()
    call = asyncio.create_task(http.predict(jpeg()))
    await eventually(lambda: bool(ensembler.requests))
    call.cancel()
    await eventually(lambda: ensembler.cancelled == 1)


async def test_calls_are_counted_as_those_of_grpc_and_answers_by_route(http):
    labels = {"rpc_service": "ferry.v1.ExpressionRecognition", "rpc_method": "Recognize"}
    calls = Counted("rpc_server_call_duration_seconds_count", {**labels, "grpc_status": "OK"})
    wrong = Counted("rpc_server_call_duration_seconds_count", {**labels, "grpc_status": "INVALID_ARGUMENT"})
    faces = Counted("ferry_predictions_total", {"variant": "stable", "expression": "happy"})
    answers = Counted("ferry_http_responses_total", {"route": "/api/predict", "status": "200"})
    lost = Counted("ferry_http_responses_total", {"route": "unknown", "status": "404"})
    await http.predict(jpeg())
    await http.predict(b"no image")
    for path in ("/a", "/b"):
        problem(await http.client.get(path), 404)
    assert (calls(), wrong(), faces(), answers(), lost()) == (1, 1, 1, 1, 2)


async def test_while_the_gateway_loads_nothing_is_taken(http):
    http.gateway.server._interceptor.ready = False
    assert (await http.client.get("/healthz")).status_code == 200
    assert (await http.client.get("/readyz")).status_code == 503
    assert problem(await http.predict(jpeg()), 503)


async def test_readiness_follows_whether_anybody_can_answer(start_http, ensembler):
    http = await start_http(pipeline_interval=0.01, unready_after=0.1)
    assert (await http.client.get("/readyz")).status_code == 200
    ensembler.available = False
    async with asyncio.timeout(20):
        while (await http.client.get("/readyz")).status_code != 503:
            await asyncio.sleep(0.02)
    assert (await http.client.get("/healthz")).status_code == 200


async def test_status_jobs_and_feedback(http):
    status = (await http.client.get("/api/status")).json()
    assert [variant["name"] for variant in status["variants"]] == ["stable"]
    assert problem(await http.client.post("/api/predict-async", content=jpeg(), headers=RAW), 501)
    assert problem(await http.client.get(f"/api/jobs/{'a' * 32}"), 501)
    assert problem(await http.client.delete(f"/api/jobs/{'a' * 32}"), 501)
    wrong = problem(await http.client.get("/api/jobs/no-job"), 400)
    assert (wrong["field"], wrong["detail"]) == (
        "job_id",
        "must be 32 hexadecimal digits, as /api/predict-async gave it",
    )
    label = {"request_id": "r" * 16, "face_index": 0, "expression": "sad"}
    assert problem(await http.client.post("/api/feedback", json=label), 501)
    wrong = await http.client.post("/api/feedback", json={**label, "expression": "bored"})
    assert problem(wrong, 400)["field"] == "expression"


async def test_a_job_over_http(start_http, own_valkey, tmp_path):
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    http = await start_http(jobs_redis_url=f"unix://{own_valkey.unix_socket_path}", jobs_key=key)
    once = {**RAW, "idempotency-key": "order-7"}

    async def submit(image=jpeg(1), **parameters):
        return await http.client.post("/api/predict-async", content=image, headers=once, params=parameters)

    accepted = await submit(time_to_live=60, max_faces=3)
    assert accepted.status_code == 202
    where = accepted.headers["location"]
    assert accepted.json() == {"job_id": where.rpartition("/")[2], "location": where}
    assert (await submit(time_to_live=60, max_faces=3)).json() == accepted.json()
    assert problem(await submit(jpeg(2)), 400)["field"] == "idempotency-key"
    assert problem(await submit(time_to_live=0), 400)["field"] == "time_to_live"
    async with asyncio.timeout(20):
        while (job := (await http.client.get(where)).json())["state"] != "succeeded":
            await asyncio.sleep(0.02)
    assert job["result"]["request_id"] == job["job_id"]
    assert job["result"]["faces"][0]["expression"] == "happy"
    assert job["expire_time"]
    assert (await http.client.delete(where)).status_code == 204
    assert problem(await http.client.get(f"/api/jobs/{'a' * 32}"), 404)


async def test_a_label_for_an_answer_over_http(start_http, valkey):
    http = await start_http(redis_url=redis_url(valkey), record_exposures=True, redis_timeout=2.0)
    answer = (await http.predict(jpeg(7))).json()
    label = {"request_id": answer["request_id"], "face_index": 0, "expression": "sad"}
    async with asyncio.timeout(20):
        # What is kept of an answer is written after it.
        while (taken := await http.client.post("/api/feedback", json=label)).status_code == 404:
            await asyncio.sleep(0.02)
    assert taken.status_code == 204
    beyond = await http.client.post("/api/feedback", json={**label, "face_index": 9})
    assert problem(beyond, 400)["field"] == "face_index"
