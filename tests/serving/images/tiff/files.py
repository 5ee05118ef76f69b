"""Writes TIFF files of any layout, by the specification and without Pillow."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SHORT, LONG, LONG8 = 3, 4, 16
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_FORMATS = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}


@dataclass(frozen=True)
class Kind:
    """How a file keeps its samples; `bits` other than the array's own packs them."""

    order: str = "<"
    big: bool = False
    planar: bool = False
    tile: tuple[int, int] | None = None
    deflate: bool = False
    predictor: int = 1
    bits: int | None = None
    reversed_bits: bool = False
    photometric: int | None = None
    rows: int = 7
    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)


def write(samples: npt.NDArray[Any], kind: Kind) -> bytes:
    """A file of `samples`, [height, width] or [height, width, samples]."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, count = samples.shape
    bits = kind.bits or samples.itemsize * 8
    planes = [samples[..., i : i + 1] for i in range(count)] if kind.planar else [samples]
    blocks = [_pack(block, kind, bits) for plane in planes for block in _blocks(plane, kind)]
    photometric = kind.photometric if kind.photometric is not None else (2 if count >= 3 else 1)
    tags = {
        256: (width,),
        257: (height,),
        258: (bits,) * count,
        259: (8 if kind.deflate else 1,),
        262: (photometric,),
        266: (2 if kind.reversed_bits else 1,),
        277: (count,),
        284: (2 if kind.planar else 1,),
        317: (kind.predictor,),
        339: (_FORMATS[samples.dtype.kind],) * count,
    }
    start = 16 if kind.big else 8
    ends = np.cumsum([start, *map(len, blocks)]).tolist()
    where = {0: tuple(ends[:-1]), 1: tuple(map(len, blocks))}
    tags |= {324: where[0], 325: where[1]} if kind.tile else {273: where[0], 279: where[1], 278: (kind.rows,)}
    if kind.tile:
        tags |= {322: (kind.tile[0],), 323: (kind.tile[1],)}
    return _container(b"".join(blocks), tags | kind.tags, kind)


def _container(pixels: bytes, tags: dict[int, tuple[int, ...]], kind: Kind) -> bytes:
    big, order = kind.big, kind.order
    word, code, entry = (8, "Q", "HHQ") if big else (4, "I", "HHI")
    start = (16 if big else 8) + len(pixels)
    after = start + struct.calcsize(order + ("Q" if big else "H")) + len(tags) * (12 + (8 if big else 0)) + word
    fields, values = [], b""
    for tag, numbers in sorted(tags.items()):
        type_, letter = (LONG8, "Q") if big and tag in {273, 324} else (LONG, "I") if max(numbers) > 65535 else (3, "H")
        raw = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        head = struct.pack(order + entry, tag, type_, len(numbers))
        if len(raw) > word:
            raw, values = struct.pack(order + code, after + len(values)), values + raw
        fields.append(head + raw.ljust(word, b"\0"))
    magic = b"II" if order == "<" else b"MM"
    header = magic + (struct.pack(order + "HHHQ", 43, 8, 0, start) if big else struct.pack(order + "HI", 42, start))
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return header + pixels + count + b"".join(fields) + bytes(word) + values


def _blocks(plane: npt.NDArray[Any], kind: Kind) -> list[npt.NDArray[Any]]:
    height, width = plane.shape[:2]
    if kind.tile is None:
        return [plane[top : top + kind.rows] for top in range(0, height, kind.rows)]
    across, down = kind.tile
    padded = np.pad(plane, ((0, -height % down), (0, -width % across), (0, 0)))
    return [
        padded[top : top + down, left : left + across]
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]


def _pack(block: npt.NDArray[Any], kind: Kind, bits: int) -> bytes:
    rows, columns, count = block.shape
    whole = block.dtype.newbyteorder(kind.order)
    if bits != block.itemsize * 8:
        digits = "".join(
            "".join(f"{value:0{bits}b}" for value in row).ljust(-(-columns * count * bits // 8) * 8, "0")
            for row in block.reshape(rows, -1).tolist()
        )
        data = int(digits, 2).to_bytes(len(digits) // 8, "big")
    elif kind.predictor == 3:
        shuffled = block.astype(whole.newbyteorder(">")).tobytes()
        planes = np.frombuffer(shuffled, np.uint8).reshape(rows, columns * count, block.itemsize).transpose(0, 2, 1)
        data = _differences(planes.reshape(rows, -1, count)).tobytes()
    elif kind.predictor == 2:
        data = _differences(block.view(f"u{block.itemsize}")).astype(f"{kind.order}u{block.itemsize}").tobytes()
    else:
        data = block.astype(whole).tobytes()
    data = zlib.compress(data) if kind.deflate else data
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if kind.reversed_bits else data


def _differences(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([values[:, :1], values[:, 1:] - values[:, :-1]], axis=1)
