"""Writes ICC profiles, and computes what they mean without a colour management library."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
"""CIE XYZ (D50) of sRGB's red, green and blue, in columns: ICC's own sRGB profile."""
PROPHOTO = np.array([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0, 0.0, 0.8249]])
DISPLAY_P3 = np.array([[0.5151, 0.2919, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
SWAPPED = SRGB[:, [2, 1, 0]]
"""Red and blue exchanged."""
WHITE = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries: npt.NDArray[np.float64], gamma: float) -> bytes:
    return profile(b"RGB ", rgb_tags(primaries, gamma))


def rgb_tags(primaries: npt.NDArray[np.float64], gamma: float) -> dict[bytes, bytes]:
    tags = {b"wtpt": _xyz(WHITE), **{c + b"TRC": _curve(gamma) for c in (b"r", b"g", b"b")}}
    tags |= {c + b"XYZ": _xyz(tuple(primaries[:, i])) for i, c in enumerate((b"r", b"g", b"b"))}
    return tags


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"wtpt": _xyz(WHITE), b"kTRC": _curve(gamma)})


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x05test\0" + bytes(79), b"cprt": b"text\0\0\0\0none\0\0\0\0", **tags}
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s12x4s", at + len(body), bytes(4), 0x02400000, kind, space, b"XYZ ", b"acsp")
    header += bytes(28) + struct.pack(">3i", *(round(v * 65536) for v in WHITE))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def meant(pixels: npt.NDArray[np.uint8], primaries: npt.NDArray[np.float64], gamma: float) -> npt.NDArray[np.float64]:
    """The pixels in sRGB, 0 to 255 (IEC 61966-2-1)."""
    linear = (pixels / 255) ** gamma @ primaries.T @ np.linalg.inv(SRGB).T
    return srgb(linear)


def srgb(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
