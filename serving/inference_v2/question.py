"""From a ModelInferRequest to a question that its model can answer, or to what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.errors import InvalidArgumentError
from serving.inference_v2 import parameters, typed
from serving.inference_v2.model import Description, Metadata, Query
from serving.inference_v2.tensor import BYTES, Tensor, TensorSpec, check_size, elements, shown, split

MAX_ID: Final = 256
MAX_ITEMS: Final = 1 << 12
"""Elements of an input of BYTES: each is an object, and takes as little as four bytes of a message."""
_SHARED_MEMORY: Final = ("shared_memory",)
_OF_OUTPUTS: Final = (*_SHARED_MEMORY, "classification")


def read(request: pb.ModelInferRequest, description: Description, metadata: Metadata = ()) -> Query:
    """The question in a message.

    Raises:
        InvalidArgumentError: it does not fit its model, or not itself; the field says where.
    """
    if len(request.id) > MAX_ID:
        raise InvalidArgumentError("id", f"must have at most {MAX_ID} characters, not {len(request.id)}")
    specs = _specs(request, description)
    for spec, given in zip(specs, request.inputs, strict=True):
        _check(spec, given, description)
    _check_form(request)
    return Query(
        request.model_name,
        request.model_version,
        {spec.name: _tensor(request, index) for index, spec in enumerate(specs)},
        _outputs(request, description),
        parameters.read(request.parameters, description),
        metadata,
    )


def is_typed(request: pb.ModelInferRequest) -> bool:
    """Whether it holds its values as typed contents, and so wants the answer's."""
    return not request.raw_input_contents


def _specs(request: pb.ModelInferRequest, description: Description) -> list[TensorSpec]:
    """Of the inputs, in the order in which they are given."""
    known = {spec.name: spec for spec in description.inputs}
    given = [tensor.name for tensor in request.inputs]
    _check_names(given, known, "inputs", description)
    missing = [name for name in known if name not in given]
    if missing:
        raise InvalidArgumentError("inputs", f"{', '.join(missing)} is missing; {_takes(description)}")
    return [known[name] for name in given]


def _outputs(request: pb.ModelInferRequest, description: Description) -> tuple[str, ...]:
    known = [spec.name for spec in description.outputs]
    asked = [tensor.name for tensor in request.outputs]
    _check_names(asked, known, "outputs", description)
    for tensor in request.outputs:
        parameters.refuse(tensor.parameters, _OF_OUTPUTS, f"outputs[{tensor.name}].parameters")
    return tuple(asked or known)


def _check_names(given: Sequence[str], known: Iterable[str], field: str, description: Description) -> None:
    known = list(known)
    for at, name in enumerate(given):
        if name not in known:
            has = f"{description.name} has {', '.join(known)}"
            raise InvalidArgumentError(f"{field}[{at}].name", f"there is no {shown(name)}; {has}")
        # Names are known from here on, so that two alike are found early.
        if name in given[:at]:
            raise InvalidArgumentError(f"{field}[{at}].name", f"{shown(name)} is named twice")


def _check(spec: TensorSpec, given: pb.ModelInferRequest.InferInputTensor, description: Description) -> None:
    field = f"inputs[{spec.name}]"
    if given.datatype != spec.datatype:
        raise InvalidArgumentError(f"{field}.datatype", f"must be {spec.datatype}, not {shown(given.datatype)}")
    count = elements(given.shape, f"{field}.shape")
    if given.datatype == BYTES and count > MAX_ITEMS:
        raise InvalidArgumentError(f"{field}.shape", f"may hold {MAX_ITEMS} elements of BYTES at most, not {count}")
    if not spec.fits(given.shape):
        raise InvalidArgumentError(f"{field}.shape", f"{list(given.shape)} does not fit; {_takes(description)}")
    parameters.refuse(given.parameters, _SHARED_MEMORY, f"{field}.parameters")


def _takes(description: Description) -> str:
    inputs = ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in description.inputs)
    return f"{description.name} takes {inputs}"


def _check_form(request: pb.ModelInferRequest) -> None:
    raw = len(request.raw_input_contents)
    if not raw:
        return
    if any(typed.filled(tensor.contents) for tensor in request.inputs):
        raise InvalidArgumentError("raw_input_contents", "is given beside contents of an input; give one of them")
    if raw != len(request.inputs):
        raise InvalidArgumentError("raw_input_contents", f"holds {raw} tensor(s), and there are {len(request.inputs)}")


def _tensor(request: pb.ModelInferRequest, index: int) -> Tensor:
    given = request.inputs[index]
    name, datatype, shape = given.name, given.datatype, tuple(given.shape)
    if is_typed(request):
        data, items = typed.read(given.contents, datatype, shape, f"inputs[{name}].contents")
        return Tensor(name, datatype, shape, data, items)
    raw, field = request.raw_input_contents[index], f"raw_input_contents[{index}]"
    if datatype == BYTES:
        return Tensor(name, datatype, shape, items=split(raw, elements(shape, field), field))
    check_size(len(raw), datatype, shape, field)
    return Tensor(name, datatype, shape, raw)
