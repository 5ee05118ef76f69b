"""Parameters of a question as options of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ferry.v1 import ensembler_pb2, types_pb2
from serving.errors import InvalidArgumentError
from serving.inference_v2.model import Parameter
from serving.inference_v2.tensor import shown

PARAMETERS: Final[Mapping[str, type[Parameter]]] = {
    "max_faces": int,
    "min_detection_score": float,
    "min_face_size": float,
    "test_time_augmentation": bool,
    "vote": str,
    "detail": int,
    "bypass_cache": bool,
}
"""As RecognizeRequest has them."""
_VOTES: Final = {"soft": types_pb2.VOTE_SOFT, "hard": types_pb2.VOTE_HARD}


def read(given: Mapping[str, Parameter]) -> tuple[ensembler_pb2.RecognizeOptions, bool]:
    """The options, and whether to bypass the cache.

    Args:
        given: by name, each of its type.

    Raises:
        InvalidArgumentError: one cannot be; whether it is in its range, the gateway's checks say.
    """
    options = ensembler_pb2.RecognizeOptions()
    for name, value in given.items():
        if name == "bypass_cache":
            continue
        if name == "vote":
            if value not in _VOTES:
                raise InvalidArgumentError("parameters[vote]", f"must be soft or hard, not {shown(str(value))}")
            options.vote = _VOTES[str(value)]
            continue
        try:
            setattr(options, name, value)
        except ValueError as error:
            raise InvalidArgumentError(f"parameters[{name}]", f"{value} is out of its range") from error
    return options, bool(given.get("bypass_cache", False))


@contextmanager
def naming_parameters() -> Iterator[None]:
    """Errors in an option are told of the parameter that it came from.

    Raises:
        InvalidArgumentError: within the context there was one.
    """
    try:
        yield
    except InvalidArgumentError as error:
        part, _, option = error.field.partition(".")
        if part != "options":
            raise
        raise InvalidArgumentError(f"parameters[{option}]", error.description) from None
