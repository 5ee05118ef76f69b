"""A question over HTTP: JSON, with the values of tensors in it or as raw bytes after it.

The bytes are the protocol's extension `binary_tensor_data`: the header `Inference-Header-Content-Length` says where the
JSON ends, and the parameter `binary_data_size` of a tensor how many bytes are its.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.errors import InvalidArgumentError
from serving.inference_v2 import typed
from serving.inference_v2.tensor import BYTES, join, shown

BINARY_SIZE: Final = "binary_data_size"
BINARY: Final = "binary_data"
BINARY_OUTPUT: Final = "binary_data_output"
_BASE64: Final = "base64"
_MAX_PARTS: Final = 1 << 16
"""Lists, objects, quotes and commas in one JSON: what they stand for takes many times their one or two characters, and
while JSON is read nothing else runs. The inputs are encoded images, hundreds at the most."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_DIGITS: Final = 400
"""Of a whole number in JSON: more than any FP64 has. To read one takes the square of its digits."""
_MAX_AXIS: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, eq=False)
class HttpQuestion:
    """A question, and which outputs are wanted as raw bytes.

    Attributes:
        message: as over gRPC, without model and version.
        binary: names of outputs; where `message` names no outputs, all are wanted as raw bytes if it is not empty.
    """

    message: pb.ModelInferRequest
    binary: frozenset[str]


def read(body: bytes, json_length: int | None, base64_inputs: Collection[str] = ()) -> HttpQuestion:
    """The question in the body of a request.

    Args:
        body: all of it.
        json_length: of the JSON that it begins with, bytes; None: it is JSON alone.
        base64_inputs: of BYTES, whose elements in JSON are base64 although they do not say so: no text could be one.

    Raises:
        InvalidArgumentError: it is none; names the field.
    """
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidArgumentError(
            "Inference-Header-Content-Length", f"says {json_length} bytes, and the body has {len(body)}"
        )
    end = len(body) if json_length is None else json_length
    document = _document(body[:end])
    message = pb.ModelInferRequest(id=_typed(document, "id", str, "", "id"))
    _parameters(document, message.parameters, "parameters", {BINARY_OUTPUT})
    binary = _flag(document, BINARY_OUTPUT, "parameters")
    inputs = _Inputs(body, end, base64_inputs)
    for position, entry in enumerate(_objects(document, "inputs")):
        inputs.add(entry, message, f"inputs[{position}]")
    if inputs.left:
        raise InvalidArgumentError("body", f"has {inputs.left} bytes more than its inputs take")
    wanted = []
    for position, entry in enumerate(_objects(document, "outputs")):
        field = f"outputs[{position}]"
        output = message.outputs.add(name=_typed(entry, "name", str, "", f"{field}.name"))
        _parameters(entry, output.parameters, f"{field}.parameters", {BINARY})
        if _flag(entry, BINARY, f"{field}.parameters", binary):
            wanted.append(output.name)
    return HttpQuestion(message, frozenset(wanted if message.outputs else {BINARY_OUTPUT} if binary else ()))


def _document(data: bytes) -> dict[str, Any]:
    if sum(map(data.count, (b"[", b"{", b'"', b","))) > _MAX_PARTS:
        raise InvalidArgumentError("body", "is JSON of too many parts; send tensors as raw bytes")
    try:
        # Text, not bytes: of bytes the library would take UTF-16, and halves of characters too.
        document = json.loads(data.decode("utf-8-sig"), parse_int=_whole_number)
        if _SURROGATE.search(data):
            # Half a character: no text that could be passed on, or named in an error.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError("body", f"is no JSON: {_why(error)}") from None
    if not isinstance(document, dict):
        raise InvalidArgumentError("body", "must be a JSON object")
    return document


def _whole_number(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError
    return int(text)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it is no Unicode text in UTF-8" if isinstance(error, UnicodeError) else "a number in it has too many digits"


def _typed(document: dict[str, Any], name: str, kind: type[Any], default: Any, field: str) -> Any:
    value = document.get(name, default)
    if type(value) is not kind:
        kinds = {str: "text", int: "a whole number", list: "a list", dict: "an object", bool: "true or false"}
        raise InvalidArgumentError(field, f"must be {kinds[kind]}")
    return value


def _objects(document: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for position, entry in enumerate(_typed(document, name, list, [], name)):
        if not isinstance(entry, dict):
            raise InvalidArgumentError(f"{name}[{position}]", "must be an object")
        yield entry


def _flag(document: dict[str, Any], name: str, field: str, default: bool = False) -> bool:
    return bool(_typed(document.get("parameters", {}), name, bool, default, f"{field}[{name}]"))


def _parameters(document: dict[str, Any], message: Any, field: str, without: Collection[str]) -> None:
    for name, value in _typed(document, "parameters", dict, {}, field).items():
        if name in without:
            continue
        choice = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}.get(type(value))
        if choice is None:
            # Not in the field, which goes into the log: the caller chose the name.
            raise InvalidArgumentError(field, f"{shown(name)} must be text, a number, true or false")
        try:
            setattr(message[name], choice, value)
        except ValueError as error:
            raise InvalidArgumentError(field, f"{shown(name)} is out of its range") from error


class _Inputs:
    """Takes the inputs of a question one after the other, and their bytes behind the JSON with them."""

    def __init__(self, body: bytes, at: int, base64_inputs: Collection[str]) -> None:
        """
        Args:
            body: of the request.
            at: where the bytes of the first one begin.
            base64_inputs: as `read` has them.
        """
        self._body = body
        self._at = at
        self._base64 = base64_inputs

    @property
    def left(self) -> int:
        """Bytes that are no input's yet."""
        return len(self._body) - self._at

    def add(self, entry: dict[str, Any], message: pb.ModelInferRequest, field: str) -> None:
        name, datatype = (_typed(entry, key, str, "", f"{field}.{key}") for key in ("name", "datatype"))
        shape = _typed(entry, "shape", list, [], f"{field}.shape")
        if not all(type(axis) is int and abs(axis) <= _MAX_AXIS for axis in shape):
            raise InvalidArgumentError(f"{field}.shape", "must be a list of whole numbers")
        given = message.inputs.add(name=name, datatype=datatype, shape=shape)
        _parameters(entry, given.parameters, f"{field}.parameters", {BINARY_SIZE})
        parameters = entry.get("parameters", {})
        if BINARY_SIZE not in parameters:
            encoded = name in self._base64 or parameters.get("content_type") == _BASE64
            message.raw_input_contents.append(_values(entry.get("data"), datatype, f"{field}.data", encoded))
            return
        if "data" in entry:
            raise InvalidArgumentError(f"{field}.data", f"is given beside {BINARY_SIZE}; give one of them")
        size = parameters[BINARY_SIZE]
        if type(size) is not int or not 0 <= size <= self.left:
            said = f"must be 0 to {self.left}, the bytes that are left"
            raise InvalidArgumentError(f"{field}.parameters[{BINARY_SIZE}]", said)
        message.raw_input_contents.append(self._body[self._at : self._at + size])
        self._at += size


def _values(data: Any, datatype: str, field: str, encoded: bool) -> bytes:
    """Raw contents of values in JSON, which may be nested as the tensor is."""
    if not isinstance(data, list):
        raise InvalidArgumentError(field, f"must be a list, or {BINARY_SIZE} must say how many bytes follow the JSON")
    flat = list(_flat(data))
    if datatype == BYTES:
        return join(_element(value, f"{field}[{i}]", encoded) for i, value in enumerate(flat))
    code = typed.code(datatype)
    if code is None:
        raise InvalidArgumentError(field, f"{shown(datatype)} has no values in JSON; send raw bytes")
    kinds = (bool,) if datatype == "BOOL" else (int, float) if datatype in {"FP32", "FP64"} else (int,)
    wrong = next((i for i, value in enumerate(flat) if type(value) not in kinds), None)
    if wrong is not None:
        raise InvalidArgumentError(f"{field}[{wrong}]", f"is no value of {datatype}")
    try:
        return typed.little_endian(array(code, flat)).tobytes()
    except OverflowError as error:
        raise InvalidArgumentError(field, f"holds a value that no {datatype} has") from error


def _flat(data: list[Any]) -> Iterator[Any]:
    """Without recursion: JSON may be nested more deeply than calls of Python's."""
    open_lists = [iter(data)]
    while open_lists:
        for value in open_lists[-1]:
            if isinstance(value, list):
                open_lists.append(iter(value))
                break
            yield value
        else:
            open_lists.pop()


def _element(value: Any, field: str, encoded: bool) -> bytes:
    if not isinstance(value, str):
        raise InvalidArgumentError(field, "must be text")
    if not encoded:
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(field, "is no base64") from error
