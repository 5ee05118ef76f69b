"""What nobody should send: a clear error each, and no harm to others."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack

import pytest

from gateway.http import protocol
from tests.gateway.fakes import eventually, jpeg
from tests.gateway.http.conftest import RAW, problem
from tests.gateway.http.sockets import answer, chunk, connect, request_head

URL = "/api/predict"
JSON = "application/json"
DEEP = b"[" * 200_000


async def still_answers(http):
    assert (await http.predict(jpeg(99))).status_code == 200


async def test_forms_without_a_file_or_with_ten(http):
    found = problem(await http.client.post(URL, files={"max_faces": (None, "1")}), 400)
    assert (found["field"], "no file" in found["detail"]) == ("image", True)
    ten = [("image", (f"{n}.jpg", jpeg(n))) for n in range(10)]
    found = problem(await http.client.post(URL, files=ten), 400)
    assert (found["field"], "predict-batch" in found["detail"]) == ("image", True)


@pytest.mark.parametrize(
    ("kind", "body", "status", "field"),
    [
        ("multipart/form-data", b"", 400, "content-type"),
        ("multipart/form-data; boundary=" + "b" * 71, b"", 400, "content-type"),
        ("multipart/form-data; boundary=B", b"no form at all", 400, "body"),
        ("multipart/form-data; boundary=B", b"--B\r\n", 400, "body"),
        ("multipart/form-data; boundary=B", b"--B\r\nX: y\r\n\r\nz\r\n--B--\r\n", 400, "body"),
        ("multipart/form-data; boundary=B", b"--B\r\n" + b"X: y\r\n" * 9 + b"\r\nz\r\n--B--\r\n", 400, "body"),
        (
            "multipart/form-data; boundary=B",
            b"--B\r\nContent-Disposition: form-data; name=max_faces\r\n\r\n" + b"1" * 5000 + b"\r\n--B--\r\n",
            413,
            "max_faces",
        ),
        (
            "multipart/form-data; boundary=B",
            b"--B\r\nContent-Disposition: form-data; name=vote\r\n\r\n\xff\r\n--B--\r\n",
            400,
            "vote",
        ),
        ("application/json", b"", 400, "body"),
        ("application/json", jpeg(), 400, "body"),
        ("application/json", b"[]", 400, "body"),
        ("application/json", b'{"image": 7}', 400, "image"),
        ("application/json", b'{"image": ""}', 400, "image"),
        ("application/json", b'{"image": "%%%"}', 400, "image"),
        ("application/json", b'{"image": "AA==", "colour": 1}', 400, "colour"),
        ("application/json", b'{"image": "AA==", "max_faces": ' + b"9" * 5000 + b"}", 400, None),
        ("application/json", DEEP, 400, "body"),
        ("application/json", b'{"image": "AA==", ' + b'"": 1, ' * 20_000 + b'"a": 1}', 400, "body"),
        ("application/json", b'{"image": "AA==", "x": [' + b"1," * 20_000 + b"1]}", 400, "body"),
        ("application/json", b'{"image": "\\ud800"}', 400, "body"),
        ("application/json", b'{"image": ' + DEEP, 400, "body"),
        ("application/json", b'{"image": "AA==", "max_faces": 1e999}', 400, None),
        ("text/plain", b"hello", 415, "content-type"),
        ("application/x-www-form-urlencoded", b"image=x", 415, "content-type"),
        ("image/jpeg", b"", 400, "image"),
        ("image/png", b"\x89PNG\r\n\x1a\n" + bytes(100), 400, "image"),
    ],
)
async def test_bodies_that_are_wrong(http, kind, body, status, field):
    found = problem(await http.client.post(URL, content=body, headers={"content-type": kind}), status)
    if field is not None:
        assert found["field"] == field
    assert "pydantic" not in found["detail"]
    await still_answers(http)


async def test_a_batch_of_millions_of_nothing_is_refused_unread(http):
    """Each would be a fault of its own, and all of them gigabytes."""
    body = b'{"images": [' + b"{}," * 20_000 + b"{}]}"
    found = problem(await http.client.post(f"{URL}-batch", content=body, headers={"content-type": JSON}), 400)
    assert (found["field"], "too many parts" in found["detail"]) == ("body", True)


async def test_256_images_in_json_with_all_their_options_are_few_enough(http):
    every = {"max_faces": 1, "min_detection_score": 0.5, "min_face_size": 8, "detail": 1, "vote": "hard"}
    image = "data:image/jpeg;base64," + base64.b64encode(b"x").decode()
    images = [{"image": image, **every, "test_time_augmentation": True, "bypass_cache": True}] * 256
    answer = await http.client.post(f"{URL}-batch", json={"images": images})
    assert (answer.status_code, answer.text.count('"index"')) == (200, 256)


async def test_a_number_of_thousands_of_digits_in_the_query(http):
    found = problem(await http.client.post(f"{URL}?max_faces={'9' * 6000}", content=jpeg(), headers=RAW), 400)
    assert (found["field"], found["detail"]) == ("max_faces", "must be a whole number of fewer digits")


@pytest.mark.parametrize("before", [b"", b'"y": "\\"", '])
@pytest.mark.parametrize("size", [1, 100])
async def test_json_with_numbers_of_thousands_of_digits_is_refused_unread(http, before, size):
    body = b'{"image": "AA==", ' + before + b'"x": [' + b",".join([b"9" * 4300] * size) + b"]}"
    found = problem(await http.client.post(URL, content=body, headers={"content-type": JSON}), 400)
    assert (found["field"], found["detail"]) == ("body", "a number in it has more than 400 digits")


async def test_base64_of_digits_alone_is_no_number(http):
    body = json.dumps({"image": "0" * 4000})
    found = problem(await http.client.post(URL, content=body, headers={"content-type": JSON}), 400)
    assert (found["field"], "digits" in found["detail"]) == ("image", False)


async def test_a_type_that_lies_does_no_harm(http):
    assert (await http.client.post(URL, content=jpeg(), headers={"content-type": "image/webp"})).status_code == 200


async def test_compressed_bodies_are_not_taken(http):
    answer = await http.client.post(URL, content=b"x", headers={**RAW, "content-encoding": "gzip"})
    assert problem(answer, 415)["field"] == "content-encoding"


async def test_a_body_that_says_it_is_too_large_is_refused_unread(start_http):
    http = await start_http(max_image_bytes=100_000)
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "content-length": "100001"}))
        status, body = await answer(reader)
        assert (status, json.loads(body)["field"]) == (413, "body")
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "content-length": "100001", "expect": "100-continue"}))
        assert (await answer(reader))[0] == 413, "whoever asks first is not told to go on"


@pytest.mark.parametrize("kind", ["image/jpeg", "application/json", "multipart/form-data; boundary=B"])
async def test_a_body_that_becomes_too_large_is_refused_on_the_way(start_http, kind):
    http = await start_http(max_image_bytes=100_000)
    head = request_head("POST", URL, {"content-type": kind, "transfer-encoding": "chunked"})
    start = b"--B\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n" if "B" in kind else b'{"image": "'
    async with connect(http.port) as (reader, writer):
        writer.write(head + chunk(start))
        for _ in range(20):
            writer.write(chunk(b"A" * 20_000))
        assert (await answer(reader))[0] == 413
    await still_answers(http)


async def test_base64_of_more_than_the_limit(start_http):
    http = await start_http(max_image_bytes=100_000)
    encoded = base64.b64encode(bytes(100_001)).decode()
    assert problem(await http.client.post(URL, json={"image": encoded}), 400)["field"] == "image"


async def test_a_body_that_does_not_come_ends_in_time_and_others_are_served(start_http):
    http = await start_http(receive_timeout=0.5)
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "content-length": "5000"}) + b"slow")
        await still_answers(http)
        status, body = await answer(reader)
        assert (status, json.loads(body)["title"]) == (408, "Request Timeout")


async def test_slow_bodies_leave_room_for_others(start_http):
    """As over gRPC: what is being received is bounded, and the slow give way to those that wait."""
    http = await start_http(max_receive_bytes=1 << 20, receive_timeout=20)
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "content-length": "5000"}) + b"slow")
        await still_answers(http)
        assert (await answer(reader))[0] == 408


async def test_a_sender_who_leaves_in_the_middle(http, ensembler):
    async with connect(http.port) as (_, writer):
        writer.write(request_head("POST", URL, {**RAW, "content-length": "5000"}) + b"half")
        await writer.drain()
    await still_answers(http)
    assert len(ensembler.requests) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_http(http, sent):
    async with connect(http.port) as (reader, writer):
        writer.write(sent)
        status, body = await answer(reader)
        assert (status, json.loads(body)["status"]) == (400, 400)
        assert await reader.read() == b"", "the connection is closed"
    await still_answers(http)


async def test_http_2_is_told_that_it_is_wrong_here(http):
    async with connect(http.port) as (reader, writer):
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        status, body = await answer(reader)
        assert (status, "gRPC has a port of its own" in json.loads(body)["detail"]) == (505, True)
        assert await reader.read() == b""


async def test_a_chunk_that_is_none(http):
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "transfer-encoding": "chunked"}) + b"zz\r\nxx\r\n")
        assert (await answer(reader))[0] == 400
    await still_answers(http)


async def test_bodies_in_tiny_chunks_end_early(http):
    """Each chunk costs as much time as some kilobytes do: megabytes of them would stop all others for seconds."""
    head = request_head("POST", URL, {**RAW, "transfer-encoding": "chunked"})
    async with connect(http.port) as (reader, writer):
        writer.write(head + chunk(b"a") * (protocol.FREE_CHUNKS + 50))
        status, body = await answer(reader)
        assert (status, "too small" in json.loads(body)["detail"]) == (400, True)
        assert await reader.read() == b"", "the connection is closed"
    image = jpeg()
    pieces = [image[start : start + 200] for start in range(0, len(image), 200)]
    async with connect(http.port) as (reader, writer):
        for _ in range(2):
            writer.write(head + chunk(image[:1]) + b"".join(map(chunk, (image[1:200], *pieces[1:]))) + chunk(b""))
            assert (await answer(reader))[0] == 200


async def test_two_lengths_of_one_body(http):
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "content-length": "5", "transfer-encoding": "chunked"}))
        status, body = await answer(reader)
        assert (status, "not both" in json.loads(body)["detail"]) == (400, True)


async def test_a_transfer_encoding_that_is_not_known(http):
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", URL, {**RAW, "transfer-encoding": "gzip, chunked"}))
        status, body = await answer(reader)
        assert (status, "Transfer-Encoding is not taken" in json.loads(body)["detail"]) == (501, True)


@pytest.mark.parametrize("size", [17_000, 300_000, 1 << 20])
async def test_headers_that_are_too_large(http, size):
    async with connect(http.port) as (reader, writer):
        writer.write(b"GET /api/status HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * size + b"\r\n\r\n")
        assert (await answer(reader))[0] == 431
    await still_answers(http)


async def test_a_path_that_is_too_long(http):
    assert (await http.client.get("/" + "a" * 17_000)).status_code == 431


async def test_whoever_says_nothing_is_cut_off(start_http, monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    http = await start_http()
    async with connect(http.port) as (reader, writer):
        assert await reader.read() == b""
    async with connect(http.port) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(b"GET /heal")
        assert await reader.read() == b"", "headers of a second request have no more time"


async def test_a_sender_who_goes_on_after_the_answer_is_cut_off(start_http, monkeypatch):
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    http = await start_http()
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", "/nowhere", {**RAW, "content-length": str(1 << 40)}))
        assert (await answer(reader))[0] == 404
        with pytest.raises(ConnectionError):
            await _send_on(writer)


async def _send_on(writer):
    while True:
        writer.write(bytes(1000))
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_connections_are_bounded(start_http):
    http = await start_http(max_connections=2)
    head = request_head("POST", URL, {**RAW, "content-length": "5000"})
    async with connect(http.port) as (_, first), connect(http.port) as (_, second):
        first.write(head)
        second.write(head)
        lane = http.gateway.server._interceptor._lanes.own
        await eventually(lambda: len(lane.calls._open) == 2)
        async with connect(http.port) as (third, _):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                assert await third.readexactly(1)


async def test_idle_connections_give_way_the_oldest_first(start_http):
    """Whoever holds all of them and asks nothing shuts nobody out."""
    http = await start_http(max_connections=2)
    get = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    async with connect(http.port) as (first, _), connect(http.port) as (second, ask_second):
        ask_second.write(get)
        assert (await answer(second))[0] == 200
        async with connect(http.port) as (third, ask_third):
            ask_third.write(get)
            assert (await answer(third))[0] == 200
            assert await first.read() == b""
            ask_second.write(get)
            assert (await answer(second))[0] == 200


async def test_methods_and_paths_that_do_not_exist(http):
    found = await http.client.get(URL)
    assert problem(found, 405)
    assert found.headers["allow"] == "POST"
    assert problem(await http.client.get("/../../etc/passwd"), 404)


async def test_no_answer_leads_to_the_host_that_a_caller_names(http):
    for path in ("/api/status/", "/v2/", "/healthz/", "/api/predict/"):
        answer = await http.client.get(path, headers={"host": "localhost:1"})
        assert (answer.status_code, answer.headers.get("location")) == (404, None), path


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/status", "/v2/models/ferry", "/nothing"])
async def test_head_says_what_get_does_without_the_body(http, path):
    got, asked = await http.client.get(path), await http.client.head(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]
    assert (await http.client.head(URL)).status_code == 405


async def test_requests_one_behind_the_other_on_a_connection(http):
    get = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    async with connect(http.port) as (reader, writer):
        writer.write(get * 5)
        for _ in range(5):
            assert (await answer(reader))[0] == 200


async def test_nothing_is_left_open(http):
    """After all that goes wrong, nobody holds a place."""
    for body in (b"", b"[]", b"no image"):
        await http.client.post(URL, content=body, headers=RAW)
    lane = http.gateway.server._interceptor._lanes.own
    await eventually(lambda: not lane.calls._open)
    assert not lane.receiving._reading
    assert http.gateway.service._admission.images == 0


async def test_slow_senders_who_hold_all_places_give_way(start_http, monkeypatch):
    monkeypatch.setattr("serving.rpc.receiving.GRACE_SECONDS", 0.1)
    http = await start_http(max_receive_bytes=1 << 20)  # one place
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(168):
            reader, writer = await stack.enter_async_context(connect(http.port))
            writer.write(request_head("POST", URL, {**RAW, "content-length": "100"}) + b"x")
            readers.append(reader)
        await eventually(lambda: any(reader._buffer for reader in readers))
        for number in range(3):
            assert (await http.predict(jpeg(number))).status_code == 200
        ends = [json.loads((await answer(reader))[1]) for reader in readers if reader._buffer]
    assert {end["status"] for end in ends} <= {408, 429}
    assert any("too slowly while others waited" in end["detail"] for end in ends)


async def test_senders_who_leave_are_refused_before_one_who_waits(start_http, monkeypatch):
    monkeypatch.setattr("serving.rpc.receiving.GRACE_SECONDS", 20)
    monkeypatch.setattr("serving.rpc.receiving.PATIENCE_SECONDS", 20)
    monkeypatch.setattr("serving.rpc.receiving.MAX_WAITING", 4)
    http = await start_http(max_receive_bytes=1 << 20)  # one place
    receiving = http.gateway.server._interceptor._lanes.own.receiving
    half = request_head("POST", URL, {**RAW, "content-length": "100"}) + b"x"
    async with connect(http.port) as (_, holding):
        holding.write(half)
        await eventually(lambda: receiving._reading)
        asking = asyncio.create_task(http.predict(jpeg(1)))
        await eventually(lambda: receiving._waiting)
        for _ in range(12):
            before = len(receiving._waiting)
            async with connect(http.port) as (_, leaving):
                leaving.write(half)
                await eventually(lambda before=before: len(receiving._waiting) != before)
        assert not asking.done()
    assert (await asking).status_code == 200
