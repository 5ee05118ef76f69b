"""How much a message holds, before it is read: a field that is only the two bytes of its name and length becomes an
object of a hundred bytes, and 10 MiB of them would be half a gigabyte and a second of the event loop."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MOST_FIELDS: Final = 1 << 13
"""Of a message and all messages in it; 256 images with all options have half of that, and so have a thousand labels."""
MOST_NUMBERS: Final = 1 << 22
"""In packed fields: up to eight bytes each, of one. As many as a tensor may hold so (serving.inference_v2.typed)."""
_SMALL: Final = 8 << 10
"""Bytes in which there is no room for harm."""
_FIXED: Final = {1: 8, 5: 4, 3: 0, 4: 0}
"""Bytes by wire type. Groups only begin and end: what is in one counts as if it were not."""
_VARINTS: Final = frozenset(
    getattr(FieldDescriptor, f"TYPE_{name}")
    for name in ("INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64", "BOOL", "ENUM")
)
_LAST_BYTES: Final = bytes(range(128))
"""With which a varint ends."""


def excess(data: bytes, of: Descriptor | None) -> str:
    """What an encoded message has too much of, in words; empty: nothing. What is no message is for its parser to say.

    Args:
        data: the message.
        of: its type; None: it is not known, and only its own fields count.
    """
    if len(data) <= _SMALL:
        return ""
    fields = numbers = 0
    parts = [(0, len(data), of)]
    while parts:
        at, end, kind = parts.pop()
        known_fields = None if kind is None else kind.fields_by_number
        try:
            while at < end:
                fields += 1
                if fields > MOST_FIELDS:
                    return f"{MOST_FIELDS:,} fields"
                tag, at = (data[at], at + 1) if data[at] < 128 else _number(data, at)
                wire = tag & 7
                if wire == 2:
                    size, at = (data[at], at + 1) if data[at] < 128 else _number(data, at)
                    begin, at = at, at + size
                    known = None if known_fields is None else known_fields.get(tag >> 3)
                    if known is None:
                        continue
                    if known.message_type is not None:
                        parts.append((begin, min(at, len(data)), known.message_type))
                    elif known.type in _VARINTS:
                        numbers += _varints(data[begin:at])
                        if numbers > MOST_NUMBERS:
                            return f"{MOST_NUMBERS:,} numbers"
                elif wire == 0:
                    at = at + 1 if data[at] < 128 else _number(data, at)[1]
                else:
                    at += _FIXED[wire]
        except (IndexError, KeyError):  # here a parser ends, too
            continue
    return ""


def descriptor_of(parse: object) -> Descriptor | None:
    """The type of the messages that `parse`, a generated `FromString`, reads; None: it is not such a one."""
    message: Any = getattr(parse, "__self__", None)
    found = getattr(message, "DESCRIPTOR", None)
    return found if isinstance(found, Descriptor) else None


def _varints(packed: bytes) -> int:
    return len(packed) - len(packed.translate(None, _LAST_BYTES))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends; of one that is too long, its beginning."""
    value = shift = 0
    while (byte := data[at]) > 127 and shift < 63:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | (byte & 127) << shift, at + 1
