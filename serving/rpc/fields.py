"""How many fields a message has, before it is read: one that is only the two bytes of its name and length becomes an
object of a hundred bytes, and 10 MiB of them would be half a gigabyte."""

from __future__ import annotations

from typing import Final

MOST_FIELDS: Final = 1 << 14
"""Of one message; a batch has 256 images."""
_SMALL: Final = 64 << 10
"""Bytes in which there is no room for harm."""
_FIXED: Final = {1: 8, 5: 4}


def too_many(data: bytes) -> bool:
    """Whether an encoded message has more than MOST_FIELDS; what is no message is for its parser to say.

    Args:
        data: the message. Only its own fields count, not those of messages in it.
    """
    if len(data) <= _SMALL:
        return False
    at, fields = 0, 0
    try:
        while at < len(data):
            fields += 1
            if fields > MOST_FIELDS:
                return True
            tag, at = _number(data, at)
            kind = tag & 7
            if kind == 2:
                size, at = _number(data, at)
                at += size
            elif kind == 0:
                _, at = _number(data, at)
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError):
        return False
    return False


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends; of one that is too long, its beginning."""
    value = shift = 0
    while (byte := data[at]) > 127 and shift < 63:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | (byte & 127) << shift, at + 1
