"""How much a message holds, before it is read: a field that is only the two bytes of its name and length becomes an
object of a hundred bytes, and 10 MiB of them would be half a gigabyte and a second of the event loop."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MOST_FIELDS: Final = 1 << 13
"""Of a message and all messages in it; 256 images with all options have half of that, and so have a thousand labels."""
MOST_NUMBERS: Final = 1 << 22
"""In packed fields: up to eight bytes each, of one. As many as a tensor may hold so (serving.inference_v2.typed)."""
MOST_SPARE: Final = 64 << 10
"""Bytes that nobody reads and that are held all the same: of fields that the type does not have, and of values that a
later one takes the place of. Whoever counts what a call holds counts what is read."""
MOST_TEXT: Final = 64 << 10
"""Bytes of one text: names, ids and options."""
_SMALL: Final = 8 << 10
"""Bytes in which there is no room for harm."""
_FEW: Final = 256
"""Bytes of a packed field that count as so many numbers, uncounted."""
_FIXED: Final = {1: 8, 5: 4, 3: 0, 4: 0}
"""Bytes by wire type. Groups only begin and end: what is in one counts as if it were not."""
_VARINTS: Final = frozenset(
    getattr(FieldDescriptor, f"TYPE_{name}")
    for name in ("INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64", "BOOL", "ENUM")
)
_LAST_BYTES: Final = bytes(range(128))
"""With which a varint ends."""
_Seen: TypeAlias = dict[Any, Any]
"""Of one message: sizes of the values that a later one would take the place of, by number or `oneof`; and the same of
messages in it, which later ones are merged with, by number as text."""


def excess(data: bytes, of: Descriptor | None) -> str:  # noqa: PLR0912  (one loop, as a parser has it)
    """What an encoded message has too much of, in words; empty: nothing. What is no message is for its parser to say.

    Args:
        data: the message.
        of: its type; None: it is not known, and only its own fields count.
    """
    if len(data) <= _SMALL:
        return ""
    fields = numbers = spare = 0
    parts: list[tuple[int, int, Descriptor | None, _Seen]] = [(0, len(data), of, {})]
    while parts:
        at, end, kind, seen = parts.pop()
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
                    if known_fields is None or at > len(data):
                        continue
                    known = known_fields.get(tag >> 3)
                    if known is None:
                        spare += size
                    elif known.message_type is not None:
                        inner = {} if known.is_repeated else seen.setdefault(f"{tag >> 3}", {})
                        parts.append((begin, min(at, len(data)), known.message_type, inner))
                    elif known.type in _VARINTS:
                        # Of a few bytes each may be one.
                        numbers += size if size < _FEW else _varints(data[begin:at])
                        if numbers > MOST_NUMBERS:
                            return f"{MOST_NUMBERS:,} numbers"
                    elif known.type == FieldDescriptor.TYPE_STRING and size > MOST_TEXT:
                        return f"{MOST_TEXT:,} bytes of text in one field"
                    elif not known.is_repeated:
                        place = tag >> 3 if known.containing_oneof is None else known.containing_oneof.name
                        spare += seen.get(place, 0)
                        seen[place] = size
                    if spare > MOST_SPARE:
                        return f"{MOST_SPARE:,} bytes that nobody reads"
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
