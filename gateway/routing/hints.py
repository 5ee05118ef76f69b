"""What a call says of its routing: who calls, and whether a variant is asked for by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from serving.errors import InvalidArgumentError
from serving.rpc import context as request_context

CALLER_KEY: Final = "x-ferry-key"
"""Metadata: any text that names the caller, or whoever the caller acts for; the same one gets the same variant."""
VARIANT_KEY: Final = "x-ferry-variant"
"""Metadata: the name of the variant that has to answer."""

FORCED: Final = "forced"
KEYED: Final = "key"
RANDOM: Final = "random"
"""Values of the label `assigned`: asked for by name, by the caller's key, by chance for each call."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What decides the variant of a call.

    Attributes:
        key: the caller's; empty: chance decides.
        assigned: one of the constants above.
        variant: the name asked for, where `assigned` is FORCED.
    """

    key: bytes = b""
    assigned: str = RANDOM
    variant: str = ""


NO_HINTS: Final = Hints()


def read_hints(metadata: Iterable[tuple[str, str | bytes]], *, allow_forced: bool) -> Hints:
    """The hints in a call's metadata. A call that names no caller is told by its request id: all its images go one way.

    Raises:
        InvalidArgumentError: a variant is asked for, and this gateway does not allow that.
    """
    caller, variant = None, None
    for name, value in metadata:
        if name == CALLER_KEY:
            caller = value
        elif name == VARIANT_KEY:
            variant = value
    if variant is not None:
        if not allow_forced:
            raise InvalidArgumentError(VARIANT_KEY, "this gateway does not let callers choose a variant; leave it out")
        return Hints(assigned=FORCED, variant=variant if isinstance(variant, str) else "")
    if caller:
        return Hints(caller.encode() if isinstance(caller, str) else caller, KEYED)
    context = request_context.current.get()
    return NO_HINTS if context is None else Hints(context.request_id.encode())
