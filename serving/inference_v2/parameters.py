"""Parameters: of a question the options of its model, and the few that the protocol's clients send of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.errors import InvalidArgumentError
from serving.inference_v2.model import Description, Parameter
from serving.inference_v2.tensor import shown

TIMEOUT: Final = "timeout"
"""Microseconds after which the answer is of no use; 0: the call's own deadline."""
_IGNORED: Final = frozenset({"priority", "content_type", "headers", "triton_enable_empty_final_response"})
"""What clients send whether or not a model knows it."""
_NAMES: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
P = TypeVar("P", bound=Parameter)
Message = Mapping[str, pb.InferParameter]


def read(message: Message, description: Description) -> dict[str, Parameter]:
    """The options in a question.

    Raises:
        InvalidArgumentError: one is unknown, or of another type.
    """
    given: dict[str, Parameter] = {}
    for name, value in message.items():
        kind = description.parameters.get(name)
        if kind is not None:
            given[name] = _value(value, kind, f"parameters[{name}]")
        elif name not in _IGNORED and name != TIMEOUT:
            known = ", ".join(sorted(description.parameters)) or "none"
            raise InvalidArgumentError("parameters", f"{shown(name)} is not known; {description.name} takes {known}")
    return given


def timeout(message: Message) -> float | None:
    """Seconds that a question allows; None: it does not say.

    Raises:
        InvalidArgumentError: it says something else.
    """
    if TIMEOUT not in message:
        return None
    # Triton's clients send it as either.
    microseconds = _value(message[TIMEOUT], int, f"parameters[{TIMEOUT}]")
    if microseconds < 0:
        raise InvalidArgumentError(f"parameters[{TIMEOUT}]", "must be 0 or more microseconds")
    return microseconds / 1e6 if microseconds else None


def refuse(message: Message, prefixes: tuple[str, ...], field: str) -> None:
    """Refuses parameters of a tensor that would change what is read or written.

    Raises:
        InvalidArgumentError: there is one.
    """
    for name in message:
        if name.startswith(prefixes):
            raise InvalidArgumentError(field, f"{shown(name)} is not offered here")


def write(parameters: Mapping[str, Parameter], message: Mapping[str, pb.InferParameter]) -> None:
    """Puts parameters into an answer."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            message[name].bool_param = value
        elif isinstance(value, int):
            message[name].int64_param = value
        elif isinstance(value, float):
            message[name].double_param = value
        else:
            message[name].string_param = value


def _value(message: pb.InferParameter, kind: type[P], field: str) -> P:
    choice = message.WhichOneof("parameter_choice")
    value = None if choice is None else getattr(message, choice)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise InvalidArgumentError(field, f"must be {_NAMES[kind]}")
    return value
