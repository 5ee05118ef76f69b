"""Questions that do not fit are told where; those that do arrive whole."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.errors import InvalidArgumentError
from serving.inference_v2 import parameters, question
from serving.inference_v2.answer import response
from serving.inference_v2.model import Description, Reply
from serving.inference_v2.tensor import Tensor, TensorSpec, join

MODEL = Description(
    "tiny",
    "1",
    ("1",),
    (TensorSpec("pixels", "UINT8", (-1, 2)), TensorSpec("note", "BYTES", (-1,))),
    (TensorSpec("half", "FP32", (-1,)), TensorSpec("text", "BYTES", (-1,))),
    {"flag": bool, "count": int, "share": float, "word": str},
)


def pixels(**changes: Any) -> dict[str, Any]:
    return {"name": "pixels", "datatype": "UINT8", "shape": [1, 2], **changes}


def note(**changes: Any) -> dict[str, Any]:
    return {"name": "note", "datatype": "BYTES", "shape": [1], **changes}


def raw(**changes: Any) -> pb.ModelInferRequest:
    fields: dict[str, Any] = {
        "model_name": "tiny",
        "inputs": [pixels(), note()],
        "raw_input_contents": [bytes([7, 8]), join([b"hello"])],
    }
    return pb.ModelInferRequest(**(fields | changes))


def typed(pixel_contents: Any = None, note_contents: Any = None, **changes: Any) -> pb.ModelInferRequest:
    inputs = [
        pixels(contents=pixel_contents or {"uint_contents": [7, 8]}),
        note(contents=note_contents or {"bytes_contents": [b"hello"]}),
    ]
    return pb.ModelInferRequest(**({"model_name": "tiny", "inputs": inputs} | changes))


@pytest.mark.parametrize("request_", [raw(), typed()])
def test_raw_and_typed_contents_say_the_same(request_: pb.ModelInferRequest) -> None:
    query = question.read(request_, MODEL)
    assert query.inputs["pixels"].data == bytes([7, 8])
    assert query.inputs["pixels"].shape == (1, 2)
    assert query.inputs["note"].items == (b"hello",)
    assert query.outputs == ("half", "text")


def test_inputs_come_in_any_order_and_outputs_as_asked_for() -> None:
    swapped = raw(
        inputs=[note(), pixels()],
        raw_input_contents=[join([b"hello"]), bytes([7, 8])],
        outputs=[{"name": "text"}, {"name": "half"}],
    )
    query = question.read(swapped, MODEL)
    assert query.inputs["pixels"].data == bytes([7, 8])
    assert query.outputs == ("text", "half")


SHARED = {"shared_memory_region": {"string_param": "x"}}
BAD = {
    "no input": (raw(inputs=[], raw_input_contents=[]), "inputs", "pixels, note is missing"),
    "one input missing": (raw(inputs=[pixels()], raw_input_contents=[b"ab"]), "inputs", "note is missing"),
    "unknown input": (raw(inputs=[pixels(name="pixel"), note()]), "inputs[0].name", "there is no 'pixel'"),
    "endless name": (raw(inputs=[pixels(name="x" * 10_000), note()]), "inputs[0].name", "x…'"),
    "an input twice": (raw(inputs=[pixels(), pixels(), note()]), "inputs[1].name", "named twice"),
    "unknown output": (raw(outputs=[{"name": "third"}]), "outputs[0].name", "there is no 'third'"),
    "an output twice": (raw(outputs=[{"name": "half"}] * 2), "outputs[1].name", "named twice"),
    "wrong type": (raw(inputs=[pixels(datatype="FP32"), note()]), "inputs[pixels].datatype", "must be UINT8"),
    "no type": (raw(inputs=[pixels(datatype=""), note()]), "inputs[pixels].datatype", "must be UINT8"),
    "no shape": (raw(inputs=[pixels(shape=[]), note()]), "inputs[pixels].shape", "1 to 8 axes"),
    "negative axis": (raw(inputs=[pixels(shape=[-1, 2]), note()]), "inputs[pixels].shape", "1 or more"),
    "empty axis": (raw(inputs=[pixels(shape=[0, 2]), note()]), "inputs[pixels].shape", "1 or more"),
    "wrong axes": (raw(inputs=[pixels(shape=[2]), note()]), "inputs[pixels].shape", "takes pixels UINT8 [-1, 2]"),
    "wrong size": (raw(inputs=[pixels(shape=[1, 3]), note()]), "inputs[pixels].shape", "[1, 3] does not fit"),
    "huge shape": (raw(inputs=[pixels(shape=[2**62, 2]), note()]), "raw_input_contents[0]", "has 2 bytes where"),
    "huge count": (raw(inputs=[pixels(), note(shape=[2**62])]), "inputs[note].shape", "at most"),
    "short raw": (raw(raw_input_contents=[b"a", join([b"x"])]), "raw_input_contents[0]", "has 1 bytes"),
    "long raw": (raw(raw_input_contents=[b"abc", join([b"x"])]), "raw_input_contents[0]", "has 3 bytes"),
    "broken prefix": (raw(raw_input_contents=[b"ab", b"\xff\xff\xff\xff"]), "raw_input_contents[1]", "4294967295"),
    "cut prefix": (raw(raw_input_contents=[b"ab", b"\x01\x00"]), "raw_input_contents[1]", "ends within the length"),
    "few raw": (raw(raw_input_contents=[b"ab"]), "raw_input_contents", "holds 1 tensor(s), and there are 2"),
    "many raw": (raw(raw_input_contents=[b"ab", join([b"x"]), b""]), "raw_input_contents", "holds 3"),
    "both forms": (typed(raw_input_contents=[b"ab", join([b"x"])]), "raw_input_contents", "beside contents"),
    "no contents": (raw(raw_input_contents=[]), "inputs[pixels].contents.uint_contents", "holds 0 value(s)"),
    "wrong field": (typed({"fp32_contents": [1, 2]}), "inputs[pixels].contents", "belongs into uint_contents"),
    "two fields": (
        typed({"uint_contents": [1, 2], "int_contents": [1]}),
        "inputs[pixels].contents",
        "not into int_contents",
    ),
    "out of range": (typed({"uint_contents": [1, 256]}), "inputs[pixels].contents.uint_contents", "no UINT8 has"),
    "few values": (typed({"uint_contents": [1]}), "inputs[pixels].contents.uint_contents", "holds 1 value(s)"),
    "huge typed shape": (
        typed(inputs=[pixels(shape=[2**62, 2], contents={"uint_contents": [1]}), note()]),
        "inputs[pixels].contents.uint_contents",
        "holds 1 value(s)",
    ),
    "shared memory": (raw(inputs=[pixels(parameters=SHARED), note()]), "inputs[pixels].parameters", "not offered"),
    "shared output": (raw(outputs=[{"name": "half", "parameters": SHARED}]), "outputs[half].parameters", "not offered"),
    "classification": (
        raw(outputs=[{"name": "half", "parameters": {"classification": {"int64_param": 3}}}]),
        "outputs[half].parameters",
        "not offered",
    ),
    "unknown parameter": (
        raw(parameters={"cuont": {"int64_param": 1}}),
        "parameters",
        "takes count, flag, share, word",
    ),
    "wrong parameter": (raw(parameters={"count": {"string_param": "1"}}), "parameters[count]", "a whole number"),
    "yes for a number": (raw(parameters={"count": {"bool_param": True}}), "parameters[count]", "a whole number"),
    "number for yes": (raw(parameters={"flag": {"int64_param": 1}}), "parameters[flag]", "true or false"),
    "empty parameter": (raw(parameters={"word": {}}), "parameters[word]", "text"),
    "endless id": (raw(id="x" * 257), "id", "at most 256"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_told(kind: str) -> None:
    request, field, said = BAD[kind]
    with pytest.raises(InvalidArgumentError) as raised:
        question.read(request, MODEL)
    assert raised.value.field == field
    assert said in raised.value.description
    assert len(raised.value.message) <= 500


def test_too_many_typed_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.inference_v2.typed.MAX_ELEMENTS", 1)
    with pytest.raises(InvalidArgumentError, match="send them in raw_input_contents"):
        question.read(typed(), MODEL)


def test_parameters_have_their_types_and_what_clients_add_is_ignored() -> None:
    given = {
        "flag": {"bool_param": True},
        "count": {"uint64_param": 3},
        "share": {"int64_param": 1},
        "word": {"string_param": "x"},
        "priority": {"uint64_param": 2},
        "timeout": {"int64_param": 1_500_000},
    }
    request = raw(parameters=given)
    assert question.read(request, MODEL).parameters == {"flag": True, "count": 3, "share": 1.0, "word": "x"}
    assert parameters.timeout(request.parameters) == 1.5
    assert parameters.timeout(raw().parameters) is None
    for wrong in ({"string_param": "1"}, {"int64_param": -1}):
        with pytest.raises(InvalidArgumentError, match="timeout"):
            parameters.timeout(raw(parameters={"timeout": wrong}).parameters)


@pytest.mark.parametrize("as_typed", [True, False])
def test_answers_take_the_form_of_their_question(as_typed: bool) -> None:
    reply = Reply(
        "tiny",
        "1",
        (Tensor("half", "FP32", (2,), struct.pack("<2f", 0.5, 1)), Tensor("text", "BYTES", (1,), items=(b"hello",))),
        {"yes": True, "count": 1, "share": 0.5, "word": "x"},
    )
    query = question.read(raw(outputs=[{"name": "text"}, {"name": "half"}]), MODEL)
    message = response(reply, query, "7", as_typed=as_typed)
    assert (message.model_name, message.model_version, message.id) == ("tiny", "1", "7")
    assert [(o.name, o.datatype, list(o.shape)) for o in message.outputs] == [
        ("text", "BYTES", [1]),
        ("half", "FP32", [2]),
    ]
    if as_typed:
        assert list(message.outputs[0].contents.bytes_contents) == [b"hello"]
        assert list(message.outputs[1].contents.fp32_contents) == [0.5, 1]
        assert not message.raw_output_contents
    else:
        assert list(message.raw_output_contents) == [join([b"hello"]), struct.pack("<2f", 0.5, 1)]
        assert not any(output.HasField("contents") for output in message.outputs)
    assert message.parameters["yes"].bool_param
    assert message.parameters["count"].int64_param == 1
    assert message.parameters["share"].double_param == 0.5
    assert message.parameters["word"].string_param == "x"


def test_so_many_elements_of_bytes_are_refused_before_any_is_read() -> None:
    count = question.MAX_ITEMS + 1
    asked = raw(inputs=[pixels(), note(shape=[count])], raw_input_contents=[bytes([7, 8]), bytes(4 * count)])
    with pytest.raises(InvalidArgumentError, match="at most") as caught:
        question.read(asked, MODEL)
    assert caught.value.field == "inputs[note].shape"
