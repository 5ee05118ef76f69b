"""Lossless WebPs (RFC 9649, section 3) with as many groups of codes as one likes, and no pixel of their own."""

from __future__ import annotations

import struct

_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
"""In which the lengths of the codes for lengths of codes are told."""


class _Bits:
    """Written from the lowest bit of each byte on."""

    def __init__(self) -> None:
        self._value = self._count = 0
        self._bytes = bytearray()

    def put(self, value: int, count: int) -> None:
        self._value |= value << self._count
        self._count += count
        while self._count >= 8:
            self._bytes.append(self._value & 255)
            self._value >>= 8
            self._count -= 8

    def done(self) -> bytes:
        return bytes(self._bytes) + bytes([self._value])


def many_groups(side: int, groups: int = 65_536) -> bytes:
    """A black square whose groups of codes, one for each 4 x 4 pixels, are all different ones, up to `groups`."""
    bits = _Bits()
    bits.put(0x2F, 8)
    bits.put(side - 1, 14)
    bits.put(side - 1, 14)
    bits.put(0, 4)  # no alpha, version
    bits.put(0, 2)  # no transform, no colour cache
    bits.put(1, 1)  # which group of codes is for which pixels:
    bits.put(0, 3)  # of 4 x 4
    bits.put(0, 1)  # no colour cache
    _all_of_a_byte(bits, 280)
    _all_of_a_byte(bits, 256)
    for _ in range(3):
        _one(bits)
    blocks = (-(-side // 4)) ** 2
    for number in range(blocks):
        group = number % groups
        bits.put(_reversed(group & 255), 8)
        bits.put(_reversed(group >> 8), 8)
    for _ in range(5 * min(groups, blocks)):
        _one(bits)
    return _riff(bits.done())


def _one(bits: _Bits) -> None:
    """A code of one symbol, 0, which takes no bits."""
    bits.put(1, 1)
    bits.put(0, 3)


def _all_of_a_byte(bits: _Bits, alphabet: int) -> None:
    """A code in which the first 256 symbols have eight bits each."""
    bits.put(0, 1)
    bits.put(len(_ORDER) - 4, 4)
    for length in _ORDER:
        bits.put(int(length == 8), 3)
    bits.put(int(alphabet > 256), 1)
    if alphabet > 256:
        bits.put(3, 3)
        bits.put(254, 8)


def _reversed(value: int) -> int:
    return int(f"{value:08b}"[::-1], 2)


def _riff(body: bytes) -> bytes:
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
