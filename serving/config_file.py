"""Configuration files: TOML or JSON, bounded, checked against a pydantic model; errors name the field or the line."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from ferry.transport import target
from serving.bounded_read import read_bounded
from serving.faults import words

MAX_CONFIG_BYTES = 64 << 10

_LOCAL = re.compile(r"local:[a-z0-9_-]{1,80}")

Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]
"""A share before it is divided by the sum of all."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class ConfigFileError(Exception):
    """A file that cannot be used; the message names the file and every field that is wrong, or the line."""


def read_config(path: Path, model: type[ModelT]) -> ModelT:
    """Reads and checks a file.

    Raises:
        ConfigFileError: it cannot be read or does not fit.
    """
    return parse_config(path, read_bytes(path), model)


def read_bytes(path: Path) -> bytes:
    """The content of a file of at most MAX_CONFIG_BYTES.

    Raises:
        ConfigFileError: it cannot be read or is larger.
    """
    try:
        # By what is read and not by what the file system says: a pipe or a device has no size.
        data = read_bounded(path, MAX_CONFIG_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ConfigFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigFileError(f"{path}: is larger than {MAX_CONFIG_BYTES} bytes")
    return data


def parse_config(path: Path, data: bytes, model: type[ModelT]) -> ModelT:
    """Checks the content of a file: JSON where its name ends in .json, TOML where it ends in .toml.

    Raises:
        ConfigFileError: it does not fit.
    """
    try:
        return model.model_validate(_parse(path, data))
    except ValidationError as error:
        problems = "; ".join(_describe(e["loc"], words(e)) for e in _faults(error))
        raise ConfigFileError(f"{path}: {problems}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigFileError(f"{path}: {error}") from error


def host_and_port(address: str) -> str:
    """`address`, which is `host:port`, several `ip:port` separated by commas, a gRPC target with its scheme, or
    `local:NAME`, a service of the same process.

    Raises:
        ValueError: it is none of them.
    """
    if not _LOCAL.fullmatch(address):
        target(address)
    return address


def _parse(path: Path, data: bytes) -> Any:
    parsers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in parsers:
        raise ConfigFileError(f"{path}: its name must end in .toml or .json")
    return parsers[path.suffix](data.decode("utf-8"))


def _faults(error: ValidationError) -> list[ErrorDetails]:
    """All but what follows from others: a list whose entries do not fit is not too short by itself."""
    faults = error.errors(include_url=False)
    within = {fault["loc"][:length] for fault in faults for length in range(len(fault["loc"]))}
    return [fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in within]


def _describe(location: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in location)
    return f"{field}: {message}" if field else message
