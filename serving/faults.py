"""What is wrong with a value, in plain words: pydantic's own are written for programmers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "json_invalid": "is no valid JSON",
    "json_type": "is no valid JSON",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "does not have the form {pattern}",
    "string_type": "must be a string",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "path_type": "must be a path",
    "string_unicode": "is no UTF-8 text",
}
_ALTERNATIVES: Final = re.compile(r"\^\(([a-z0-9_|]+)\)(\$|://)")


def words(fault: Mapping[str, Any]) -> str:
    """What is wrong, such as `must be at least 1`.

    Args:
        fault: one of those that pydantic's ValidationError lists.
    """
    known = _WORDS.get(str(fault["type"]))
    if known is None:
        said = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return f"must be {rest}" if (rest := said.removeprefix("Input should be ")) != said else said
    context: dict[str, Any] = {**fault.get("ctx", {})}
    if choices := alternatives(str(context.get("pattern", ""))):
        return f"must be one of {', '.join(choices)}"
    return known.format_map(_Known(context))


def alternatives(pattern: str) -> list[str]:
    """What a pattern such as `^(debug|info)$` or `^(redis|unix)://` lets a text be, or begin with; else nothing."""
    match = _ALTERNATIVES.fullmatch(pattern)
    return [] if match is None else [choice + match[2].removesuffix("$") for choice in match[1].split("|")]


class _Known(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
