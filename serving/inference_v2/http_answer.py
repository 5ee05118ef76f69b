"""Answers over HTTP: JSON, with the values of tensors in it or as raw bytes after it."""

from __future__ import annotations

import json
import math
from array import array
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.inference_v2 import typed
from serving.inference_v2.http_question import BINARY_OUTPUT, BINARY_SIZE, HttpQuestion
from serving.inference_v2.tensor import BYTES, split


def write(answer: pb.ModelInferResponse, question: HttpQuestion) -> tuple[bytes, int | None]:
    """The body of an answer that holds raw contents, and how long the JSON is that it begins with; None: all of it."""
    everything = BINARY_OUTPUT in question.binary and not question.message.outputs
    document = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.id:
        document["id"] = answer.id
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if everything or output.name in question.binary:
            entry["parameters"] = {BINARY_SIZE: len(raw)}
            binary.append(raw)
        else:
            entry["data"] = _values(raw, output.datatype, math.prod(output.shape))
        outputs.append(entry)
    parameters = {
        name: getattr(value, str(value.WhichOneof("parameter_choice"))) for name, value in answer.parameters.items()
    }
    text = json.dumps({**document, "parameters": parameters, "outputs": outputs}).encode()
    return b"".join((text, *binary)), len(text) if binary else None


def plain(message: Message) -> dict[str, Any]:
    """Any other answer; whole numbers are numbers, which protobuf's own JSON makes text of."""
    document = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    for tensor in (*document.get("inputs", ()), *document.get("outputs", ())):
        tensor["shape"] = [int(axis) for axis in tensor["shape"]]
    for tensor in (*document.get("input", ()), *document.get("output", ())):
        tensor["dims"] = [int(axis) for axis in tensor["dims"]]
    return document


def _values(raw: bytes, datatype: str, count: int) -> list[Any]:
    if datatype == BYTES:
        return [item.decode(errors="replace") for item in split(raw, count, datatype)]
    code = typed.code(datatype)
    assert code is not None, datatype
    values: list[Any] = typed.little_endian(array(code, raw)).tolist()
    if datatype == "BOOL":
        return [bool(value) for value in values]
    # JSON has no word for what is no number.
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
