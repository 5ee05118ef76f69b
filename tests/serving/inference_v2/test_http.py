"""Questions and answers over HTTP, between bytes and messages."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.errors import InvalidArgumentError
from serving.inference_v2 import http_answer, http_question
from serving.inference_v2.tensor import join


def body(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **fields}).encode()


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "INT32", "shape": [3], "data": [1, -2, 3], **fields}


@pytest.mark.parametrize(
    ("given", "raw"),
    [
        (tensor(), struct.pack("<3i", 1, -2, 3)),
        (tensor(shape=[1, 3], data=[[1, -2, 3]]), struct.pack("<3i", 1, -2, 3)),
        (tensor(datatype="UINT8", data=[0, 255]), b"\x00\xff"),
        (tensor(datatype="BOOL", data=[True, False]), b"\x01\x00"),
        (tensor(datatype="FP32", data=[0.5, 1]), struct.pack("<2f", 0.5, 1)),
        (tensor(datatype="FP64", data=[0.1]), struct.pack("<d", 0.1)),
        (tensor(datatype="INT64", data=[-(2**63)]), struct.pack("<q", -(2**63))),
        (tensor(datatype="BYTES", data=["é"]), join(["é".encode()])),
        (
            tensor(
                datatype="BYTES", data=[base64.b64encode(b"\xff\x00").decode()], parameters={"content_type": "base64"}
            ),
            join([b"\xff\x00"]),
        ),
        (tensor(datatype="BYTES", name="image", data=["/wA="]), join([b"\xff\x00"])),
    ],
)
def test_values_in_json(given: dict[str, Any], raw: bytes) -> None:
    message = http_question.read(body(given), None, {"image"}).message
    assert list(message.raw_input_contents) == [raw]
    assert list(message.inputs[0].shape) == given["shape"]


def test_values_may_be_nested_as_deeply_as_json_is() -> None:
    data: list[Any] = [7]
    for _ in range(300):
        data = [data]
    given = body(tensor(shape=[1], data=[1, data, 2]))
    assert list(http_question.read(given, None).message.raw_input_contents) == [struct.pack("<3i", 1, 7, 2)]


def test_values_after_the_json_and_what_else_a_question_says() -> None:
    given = body(
        {"name": "a", "datatype": "UINT8", "shape": [2], "parameters": {"binary_data_size": 2}},
        tensor(),
        {"name": "b", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": 1}},
        id="seven",
        parameters={"flag": True, "count": 3, "share": 0.5, "word": "x", "binary_data_output": True},
        outputs=[{"name": "p", "parameters": {"binary_data": False}}, {"name": "q"}],
    )
    question = http_question.read(given + b"\x01\x02\x03", len(given))
    assert list(question.message.raw_input_contents) == [b"\x01\x02", struct.pack("<3i", 1, -2, 3), b"\x03"]
    assert question.message.id == "seven"
    assert set(question.message.parameters) == {"flag", "count", "share", "word"}
    assert question.message.parameters["flag"].bool_param
    assert question.message.parameters["count"].int64_param == 3
    assert question.message.parameters["share"].double_param == 0.5
    assert question.message.parameters["word"].string_param == "x"
    assert [output.name for output in question.message.outputs] == ["p", "q"]
    assert question.binary == {"q"}


def test_whole_numbers_may_have_400_digits() -> None:
    assert http_question.read(b'{"id": "seven", "x": [' + b"9" * 400 + b", -" + b"9" * 400 + b"]}", None).message.id


BAD: dict[str, tuple[bytes, int | None, str, str]] = {
    "nothing": (b"", None, "body", "no JSON"),
    "no JSON": (b"\xff\xd8\xff", None, "body", "no JSON"),
    "a list": (b"[]", None, "body", "must be a JSON object"),
    "deep": (b"[" * 60_000, None, "body", "no JSON"),
    "many parts": (b"[" + b"{}," * 70_000 + b"{}]", None, "body", "too many parts"),
    "a number of 401 digits": (b'{"x": [1, -' + b"9" * 401 + b"]}", None, "body", "too many digits"),
    "inputs of another kind": (b'{"inputs": {}}', None, "inputs", "must be a list"),
    "an input of another kind": (b'{"inputs": [1]}', None, "inputs[0]", "must be an object"),
    "a name of another kind": (body(tensor(name=3)), None, "inputs[0].name", "must be text"),
    "a shape of text": (body(tensor(shape=["3"])), None, "inputs[0].shape", "whole numbers"),
    "a shape of fractions": (body(tensor(shape=[1.5])), None, "inputs[0].shape", "whole numbers"),
    "a shape beyond all": (body(tensor(shape=[2**64])), None, "inputs[0].shape", "whole numbers"),
    "no data": (body({"name": "x", "datatype": "INT32", "shape": [1]}), None, "inputs[0].data", "must be a list"),
    "data of another kind": (body(tensor(data="123")), None, "inputs[0].data", "must be a list"),
    "text for a number": (body(tensor(data=[1, "2"])), None, "inputs[0].data[1]", "no value of INT32"),
    "yes for a number": (body(tensor(data=[True])), None, "inputs[0].data[0]", "no value of INT32"),
    "nothing for a number": (body(tensor(data=[None])), None, "inputs[0].data[0]", "no value of INT32"),
    "too large": (body(tensor(data=[2**31])), None, "inputs[0].data", "no INT32 has"),
    "half floats": (body(tensor(datatype="FP16", data=[1])), None, "inputs[0].data", "send raw bytes"),
    "an unknown type": (body(tensor(datatype="FP8")), None, "inputs[0].data", "'FP8'"),
    "a number for bytes": (body(tensor(datatype="BYTES", data=[1])), None, "inputs[0].data[0]", "must be text"),
    "no base64": (body(tensor(name="image", datatype="BYTES", data=["%"])), None, "inputs[0].data[0]", "no base64"),
    "a parameter of another kind": (body(parameters={"x": [1]}), None, "parameters", "'x' must be text, a number"),
    "a parameter beyond all": (body(parameters={"x": 2**64}), None, "parameters", "'x' is out of its range"),
    "parameters of another kind": (body(parameters=[]), None, "parameters", "must be an object"),
    "binary of another kind": (body(parameters={"binary_data_output": 1}), None, "parameters[binary_data_output]", ""),
    "a length that lies": (body(tensor()), 10_000, "Inference-Header-Content-Length", "says 10000 bytes"),
    "a negative length": (body(tensor()), -1, "Inference-Header-Content-Length", "says -1 bytes"),
    "a length too short": (body(tensor()), 10, "body", "no JSON"),
    "more bytes": (body(tensor()) + b"rest", len(body(tensor())), "body", "has 4 bytes more"),
    "both": (body(tensor(parameters={"binary_data_size": 0})), None, "inputs[0].data", "beside binary_data_size"),
}
for _name, _size in {"a size that lies": 5, "a negative size": -1, "a size of text": "5"}.items():
    _given = body({"name": "x", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": _size}})
    BAD[_name] = (_given + b"four", len(_given), "inputs[0].parameters[binary_data_size]", "must be 0 to 4")


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_question_is_told(kind: str) -> None:
    given, length, field, said = BAD[kind]
    with pytest.raises(InvalidArgumentError) as raised:
        http_question.read(given, length, {"image"})
    assert raised.value.field == field
    assert said in raised.value.description


ANSWER = pb.ModelInferResponse(
    model_name="tiny",
    model_version="1",
    id="seven",
    parameters={"degraded": {"bool_param": False}},
    outputs=[
        {"name": "p", "datatype": "FP32", "shape": [2, 1]},
        {"name": "q", "datatype": "BYTES", "shape": [1]},
        {"name": "r", "datatype": "INT32", "shape": [0]},
    ],
    raw_output_contents=[struct.pack("<2f", 0.5, float("nan")), join([b"hello"]), b""],
)


def test_an_answer_in_json() -> None:
    text, length = http_answer.write(ANSWER, http_question.read(body(), None))
    assert length is None
    assert json.loads(text) == {
        "model_name": "tiny",
        "model_version": "1",
        "id": "seven",
        "parameters": {"degraded": False},
        "outputs": [
            {"name": "p", "datatype": "FP32", "shape": [2, 1], "data": [0.5, None]},
            {"name": "q", "datatype": "BYTES", "shape": [1], "data": ["hello"]},
            {"name": "r", "datatype": "INT32", "shape": [0], "data": []},
        ],
    }


def test_an_answer_in_raw_bytes() -> None:
    question = http_question.read(body(parameters={"binary_data_output": True}), None)
    data, length = http_answer.write(ANSWER, question)
    assert length is not None
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(data[:length])["outputs"]]
    assert sizes == [8, 9, 0]
    assert data[length:] == b"".join(ANSWER.raw_output_contents)


def test_an_answer_in_both() -> None:
    question = http_question.read(
        body(outputs=[{"name": "q", "parameters": {"binary_data": True}}, {"name": "p"}]), None
    )
    data, length = http_answer.write(ANSWER, question)
    document = json.loads(data[:length])
    assert [output.get("data") for output in document["outputs"]] == [[0.5, None], None, []]
    assert data[length:] == join([b"hello"])


def test_shapes_of_metadata_are_numbers() -> None:
    tensors = [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    document = http_answer.plain(pb.ModelMetadataResponse(name="ferry", inputs=tensors))
    assert document["inputs"] == tensors
    assert document["versions"] == []
    assert http_answer.plain(pb.ServerLiveResponse()) == {"live": False}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b'{"id": "\\ud800"}', "no Unicode text"),
        (b'{"inputs": [{"name": "\\uDFFF"}]}', "no Unicode text"),
        (b'{"parameters": {"\\ud800": 1}}', "no Unicode text"),
        (b'{"outputs": [{"name": "\\ud83d"}]}', "no Unicode text"),
        (b'{"id": "\xff"}', "no Unicode text"),
        (b'{"id": "\xed\xa0\x80"}', "no Unicode text"),
        (b'{"parameters": {"\xed\xa0\x80": [1]}}', "no Unicode text"),
        (b'{"inputs": [{"name": "a", "datatype": "\xed\xa0\x80", "data": ["x"]}]}', "no Unicode text"),
        (b'{"inputs": [{"name": "a", "datatype": "BYTES", "data": ["\xed\xa0\x80"]}]}', "no Unicode text"),
        ('{"id": "\\ud800"}'.encode("utf-16"), "no Unicode text"),
        ('{"id": "seven"}'.encode("utf-16-le"), "no JSON"),
        ('{"id": "\\ud800"}'.encode("utf-32-be"), "no JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "too many digits"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"parameters": {' + b'"a": 1, ' * 40_000 + b'"a": 1}}', "too many parts"),
        (b'{"inputs": [' + b'"", ' * 40_000 + b'""]}', "too many parts"),
        (b"[" + b"{}," * 70_000 + b"{}]", "too many parts"),
        (b'{"inputs": [{"data": [' + b"1," * 70_000 + b"1]}]}", "too many parts"),
    ],
)
def test_json_that_is_meant_to_hurt(given: bytes, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        http_question.read(given, None)
    assert caught.value.field == "body"
    caught.value.message.encode()


def test_a_mark_of_utf_8_before_the_json_is_no_fault() -> None:
    assert http_question.read(b'\xef\xbb\xbf{"id": "seven"}', None).message.id == "seven"


def test_characters_in_two_halves_are_whole() -> None:
    assert http_question.read(b'{"id": "\\ud83d\\ude00"}', None).message.id == "\U0001f600"
