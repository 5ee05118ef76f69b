"""The Open Inference Protocol over HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.inference_v2.tensor import join, split
from tests.gateway.fakes import Counted, FakeEnsembler, eventually, jpeg
from tests.gateway.http.conftest import Http, StartHttp


def image(*encoded: bytes, **parameters: Any) -> dict[str, Any]:
    data = [base64.b64encode(item).decode() for item in encoded]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(encoded)], "data": data}], **parameters}


async def infer(http: Http, document: dict[str, Any], path: str = "ferry", **more: Any) -> httpx.Response:
    return await http.client.post(f"/v2/models/{path}/infer", json=document, **more)


def error(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    document = response.json()
    assert set(document) == {"error"}
    return str(document["error"])


async def test_errors_that_no_route_says_have_the_form_of_the_protocol(http: Http) -> None:
    assert error(await http.client.post("/v2"), 405) == "the path has no such method"
    assert "is not known" in error(await http.client.get("/v2/nope", headers={"host": "evil.example"}), 403)
    assert "16 KiB" in error(await http.client.get("/v2", headers={"x-much": "x" * (17 << 10)}), 431)


async def test_it_says_what_it_is(http: Http) -> None:
    assert (await http.client.get("/v2/health/live")).json() == {"live": True}
    assert (await http.client.get("/v2/health/ready")).json() == {"ready": True}
    server = (await http.client.get("/v2")).json()
    assert server["name"] == "ferry-gateway"
    assert "binary_tensor_data" in server["extensions"]
    for path in ("ferry", "ferry/versions/1"):
        model = (await http.client.get(f"/v2/models/{path}")).json()
        assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
        config = (await http.client.get(f"/v2/models/{path}/config")).json()
        assert config["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": [-1]}]
        assert {"name": "boxes", "data_type": "TYPE_FP32", "dims": [-1, 4]} in config["output"]
        assert config["max_batch_size"] == 0
        assert (await http.client.get(f"/v2/models/{path}/ready")).json() == {"name": "ferry", "ready": True}
    assert (await http.client.get("/v2/models/fairy/ready")).status_code == 404
    assert "there is ferry 1" in error(await http.client.get("/v2/models/fairy/config"), 404)
    assert error(await http.client.get("/v2/models/ferry/stats"), 404) == "there is nothing at this path"
    assert error(await http.client.get("/v2/models/ferry/infer"), 405) == "the path has no such method"
    assert (await http.client.get("/v2/models/ferry/versions/2/ready")).status_code == 404
    for body in (None, {"ready": True}):
        index = await http.client.post("/v2/repository/index", json=body) if body else None
        index = index or await http.client.post("/v2/repository/index")
        assert [(entry["name"], entry["version"], entry["state"]) for entry in index.json()] == [
            ("ferry", "1", "READY")
        ]


async def test_json_in_and_out(http: Http) -> None:
    answer = (await infer(http, image(jpeg(1), jpeg(2), id="album"))).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("ferry", "1", "album")
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["expressions"]["data"] == ["happy", "happy"]
    assert outputs["boxes"]["shape"] == [2, 4]
    assert len(outputs["boxes"]["data"]) == 8
    assert json.loads(outputs["answer"]["data"][0])["faces"][0]["expression"] == "happy"


async def test_raw_bytes_in_and_out(http: Http) -> None:
    raw = join([jpeg(1)])
    given = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    response = await http.client.post("/v2/models/ferry/versions/1/infer", content=text + raw, headers=headers)
    length = int(response.headers["inference-header-content-length"])
    outputs = json.loads(response.content[:length])["outputs"]
    at, contents = length, {}
    for output in outputs:
        size = output["parameters"]["binary_data_size"]
        contents[output["name"]] = response.content[at : at + size]
        at += size
    assert at == len(response.content)
    assert split(contents["expressions"], 1, "") == (b"happy",)
    assert struct.unpack("<i", contents["image_index"]) == (0,)


async def test_options_cache_request_id_and_variant_are_those_of_ferry(http: Http, ensembler: FakeEnsembler) -> None:
    await http.predict(jpeg(7))
    headers = {"x-request-id": "caller-0001"}
    answer = (await infer(http, image(jpeg(7), outputs=[{"name": "answer"}]), headers=headers)).json()
    document = json.loads(answer["outputs"][0]["data"][0])
    assert (document["cached"], document["request_id"]) == (True, "caller-0001")
    await infer(http, image(jpeg(8), parameters={"max_faces": 3, "vote": "hard", "timeout": 5_000_000}))
    assert ensembler.requests[-1].options.max_faces == 3
    assert 1 < ensembler.remaining[-1] < 5.5


async def test_calls_are_counted_as_those_over_grpc(http: Http) -> None:
    labels = {"rpc_service": "inference.GRPCInferenceService", "rpc_method": "ModelInfer", "grpc_status": "OK"}
    calls = Counted("rpc_server_call_duration_seconds_count", labels)
    await infer(http, image(jpeg()))
    assert calls() == 1


@pytest.mark.parametrize(
    ("document", "path", "status", "said"),
    [
        (image(jpeg()), "fairy", 404, "there is ferry 1"),
        (image(jpeg()), "ferry/versions/9", 404, "there is ferry 1"),
        (image(b"no image"), "ferry", 400, "inputs[image][0]"),
        (image(jpeg(), parameters={"max_face": 1}), "ferry", 400, "'max_face' is not known"),
        (image(jpeg(), outputs=[{"name": "nothing"}]), "ferry", 400, "there is no 'nothing'"),
        ({"inputs": []}, "ferry", 400, "image is missing"),
        ({}, "ferry", 400, "image is missing"),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["%"]}]}, "ferry", 400, "no base64"),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2**62], "data": []}]}, "ferry", 400, "at most"),
        ({"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1], "data": [0]}]}, "ferry", 400, "no 'pixels'"),
    ],
)
async def test_errors_are_an_object_with_error(
    http: Http, document: dict[str, Any], path: str, status: int, said: str
) -> None:
    assert said in error(await infer(http, document, path), status)
    assert (await infer(http, image(jpeg()))).status_code == 200


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"", {}, 400, "no JSON"),
        (jpeg(), {"content-type": "image/jpeg"}, 400, "no JSON"),
        (b"[" * 50_000, {}, 400, "no JSON"),
        (b'{"parameters": {"\xed\xa0\x80": [1]}}', {}, 400, "no Unicode text in UTF-8"),
        (b"{}", {"inference-header-content-length": "-1"}, 400, "length of the JSON"),
        (b"{}", {"inference-header-content-length": "99999999"}, 400, "says 99999999 bytes, and the body has 2"),
        (b"{}", {"inference-header-content-length": "9" * 40}, 400, "length of the JSON"),
        (b"{}", {"content-encoding": "gzip"}, 415, "content-encoding: is not taken"),
        (b" " * (15 << 20), {}, 413, "larger than"),
    ],
)
async def test_bodies_that_are_none(http: Http, content: bytes, headers: Any, status: int, said: str) -> None:
    response = await http.client.post("/v2/models/ferry/infer", content=content, headers=headers)
    assert said in error(response, status)


@pytest.mark.parametrize("content", [b'{"x": "\xed\xa0\x80"}', '{"ready": true}'.encode("utf-16"), b"[" * 2000, b"[]"])
async def test_an_index_is_asked_for_by_an_object_in_utf_8(http: Http, content: bytes) -> None:
    assert "must be a JSON object" in error(await http.client.post("/v2/repository/index", content=content), 400)


async def test_overload_says_when_to_come_back(start_http: StartHttp, ensembler: FakeEnsembler) -> None:
    http = await start_http(max_concurrency=1)
    ensembler.gate.clear()
    first = asyncio.create_task(infer(http, image(jpeg(1))))
    await eventually(lambda: len(ensembler.requests) == 1)
    response = await infer(http, image(jpeg(2)))
    assert "too many images" in error(response, 429)
    assert int(response.headers["retry-after"]) >= 1
    ensembler.gate.set()
    assert (await first).status_code == 200


async def test_a_caller_who_leaves_stops_the_work(http: Http, ensembler: FakeEnsembler) -> None:
    ensembler.gate.clear()
    asking = asyncio.create_task(infer(http, image(jpeg(1), jpeg(2))))
    await eventually(lambda: len(ensembler.requests) == 2)
    asking.cancel()
    await eventually(lambda: ensembler.cancelled == 2)


async def test_a_key_is_asked_for_except_by_probes(start_http: StartHttp, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b's3cret').hexdigest()}\n")
    http = await start_http(api_keys=keys)
    assert (await http.client.get("/v2/health/live")).status_code == 200
    assert (await http.client.get("/v2/health/ready")).status_code == 200
    for path in ("/v2", "/v2/models/ferry", "/v2/models/ferry/ready"):
        assert "API key" in error(await http.client.get(path), 401)
    assert "API key" in error(await infer(http, image(jpeg())), 401)
    answered = await infer(http, image(jpeg()), headers={"authorization": "Bearer s3cret"})
    assert answered.status_code == 200


async def test_the_log_holds_no_name_that_a_caller_gave_a_parameter(
    http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for value in ([1], 2**64):
            said = error(await infer(http, image(jpeg(), parameters={"alice-smith": value})), 400)
            assert said.startswith("parameters: 'alice-smith' ")
    failed = [vars(record) for record in caplog.records if record.getMessage() == "call failed"]
    assert {record["field"] for record in failed} == {"parameters"}
    assert "alice-smith" not in str([vars(record) for record in caplog.records])
