"""`POST /api/predict-batch`: many images, answered as each is ready."""

import asyncio
import base64
import json

from tests.gateway.fakes import eventually, jpeg
from tests.gateway.http.conftest import problem
from tests.gateway.http.sockets import chunk, connect, multipart_file, request_head

URL = "/api/predict-batch"


def files(*images):
    return [("images", (f"{index}.jpg", image)) for index, image in enumerate(images)]


def lines(response):
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_line_for_each_image_and_one_that_fails_fails_alone(http):
    answers = lines(await http.client.post(URL, files=files(jpeg(1), b"no image", jpeg(2))))
    found = {answer["index"]: answer for answer in answers}
    assert sorted(found) == [0, 1, 2]
    assert found[0]["result"]["faces"][0]["expression"] == "happy"
    assert (found[1]["error"]["status"], found[1]["error"]["field"]) == (400, "image")
    assert found[1]["error"]["detail"].startswith("is not a readable")
    assert found[2]["result"]["request_id"].endswith(".2")


async def test_json_with_options_for_each_image(http, ensembler):
    images = [{"image": base64.b64encode(jpeg(shade)).decode(), "max_faces": shade} for shade in (1, 2)]
    assert len(lines(await http.client.post(URL, json={"images": images}))) == 2
    assert sorted(request.options.max_faces for request in ensembler.requests) == [1, 2]


async def test_fields_before_the_first_file_are_options_of_all(http, ensembler):
    await http.client.post(URL, data={"max_faces": "7"}, files=files(jpeg(1), jpeg(2)))
    assert [request.options.max_faces for request in ensembler.requests] == [7, 7]


async def test_an_answer_comes_while_the_caller_still_sends(http):
    head = request_head(
        "POST", URL, {"content-type": "multipart/form-data; boundary=B", "transfer-encoding": "chunked"}
    )
    async with connect(http.port) as (reader, writer):
        writer.write(head + chunk(multipart_file(jpeg(1))) + chunk(b"--B\r\n"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b'"index":0')
        writer.write(chunk(multipart_file(jpeg(2))[5:]) + chunk(b"--B--\r\n") + chunk(b""))
        await reader.readuntil(b'"index":1')


async def test_what_goes_wrong_on_the_way_is_a_last_line(http):
    body = multipart_file(jpeg(1)) + b"--B\r\nContent-Disposition: form-data; name=x; filename=x\r\n\r\nhalf"
    head = {"content-type": "multipart/form-data; boundary=B"}
    *_, last = lines(await http.client.post(URL, content=_slowly(body), headers=head))
    assert last["error"]["status"] == 400
    assert "index" not in last


async def _slowly(body):
    yield body
    await asyncio.sleep(0.3)


async def test_what_is_wrong_from_the_start_is_an_error(start_http):
    http = await start_http(max_batch_images=2)
    assert problem(await http.client.post(URL, data={"max_faces": "1"}, files={"x": (None, "1")}), 400)
    assert problem(await http.client.post(URL, json={"images": []}), 400)["field"] == "images"
    one = {"image": base64.b64encode(jpeg()).decode()}
    assert problem(await http.client.post(URL, json={"images": [{**one, "max_faces": 999}]}), 400)["field"] == (
        "images.0.max_faces"
    )
    too_many = await http.client.post(URL, files=files(jpeg(1), jpeg(2), jpeg(3)))
    assert "1 to 2 images" in too_many.text


async def test_a_caller_who_leaves_stops_the_work(http, ensembler):
    ensembler.gate.clear()
    head = request_head(
        "POST", URL, {"content-type": "multipart/form-data; boundary=B", "transfer-encoding": "chunked"}
    )
    async with connect(http.port) as (_, writer):
        writer.write(head + chunk(multipart_file(jpeg(1))) + chunk(b"--B\r\n"))
        await eventually(lambda: bool(ensembler.requests))
    await eventually(lambda: ensembler.cancelled == 1)
