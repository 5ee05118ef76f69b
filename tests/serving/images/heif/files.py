"""HEIC pictures. Nothing that is installed can write one: `TURNED` is `photo()` at quality 90, to be turned by a
quarter, and `grid` puts the one coded picture of a tile into the boxes of a phone's, which are made of tiles."""

from __future__ import annotations

import base64
import struct

TURNED = base64.b64decode(
    """
    AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j
    AAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAUUAAgAAAAADMQABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA
    ABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg
    AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE
    AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AA
    AAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAA
    AXFtZGF0AAABQSgBrwY45dHWkSImkv3osEx8aPTtGVaSy9e9RmiZexVEJ8EBuIAW74MvU3R0wARwIpad5eHK2T3t/8B/xXzf5W/UP/ogFnsE
    7ldvhfZf58UVKBShqfhi9FRfwaR8+5k9f3/1/+Pf+EP8Jkf1UTr/JWB3CSLPucHPJlmg916qhqioar318D/kk/L97+IyIESpFTjZxncL+ha6
    9ZdEDoUYFGcIgRy6yQlciN37I/PwvLb5adv9njMgxRMJlTP1a47SN9y0fsFj1xlc56JE4fL/82Pl6JD494z9Obhd9jo+SJVW6uy4aFyvzQYQ
    9992dk+3JnEyBMA+Rr0TXLvkxf644prwGqeZjq1R3CknqAc6zDsPNmjoFIIaaJM3VmcQrfglZZcQa0LwS6FRWrSBD2is1jBcwMDAHQb8xzwc
    Xn7/4YsJ/wAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA==
    """
)

_TILE = 512
_TEAL = base64.b64decode(
    """
    AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA
    AERAAAEAAQAAAAABegABAAAAAAAAAHEAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3
    aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAWvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAWroCQGEAAQArQgEBA3AAAAMAkAAAAwAA
    AwBaoAQCAIBZbqSSmubgIaDAgAAADIAAAAMAhGIAAQAHRAHBcrBiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAAIAAAACAAAAABBw
    aXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAHltZGF0AAAAbSgBrwtEF0tSkoRA+sbB1//4NatxeR/EM7TLFFSHskIIUKkogBOw
    qG/FQSoZ5WAAAAiYkwpCSAAAAwAAH9CHAAADAAADAAB7QAAAAwAAAwAAHZAAAAMAAAMAAVUAAAMAAAMABpwAAAMAAAMAD4g=
    """
)
"""512 x 512 pixels of (0, 128, 128), as x265 writes them."""
_CODED = _TEAL[_TEAL.index(b"mdat") + 4 :]
_HVCC = _TEAL[_TEAL.index(b"hvcC") - 4 :][: int.from_bytes(_TEAL[_TEAL.index(b"hvcC") - 4 :][:4], "big")]


def grid(columns: int, rows: int, *, says: tuple[int, int] | None = None) -> bytes:
    """A HEIC picture of `columns` x `rows` tiles of 512 x 512 pixels, all of one colour.

    Args:
        columns: 1 to 256.
        rows: 1 to 256.
        says: width and height that its properties name; None: what they are.
    """
    width, height = columns * _TILE, rows * _TILE
    tiles = range(2, 2 + columns * rows)
    described = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    named = [_full(b"infe", 2, 0, struct.pack(">HH4sB", 1, 0, b"grid", 0))]
    named += [_full(b"infe", 2, 1, struct.pack(">HH4sB", tile, 0, b"hvc1", 0)) for tile in tiles]
    references = _box(b"dimg", struct.pack(">HH", 1, len(tiles)) + b"".join(struct.pack(">H", one) for one in tiles))
    properties = _box(
        b"ipco",
        _HVCC
        + _full(b"ispe", 0, 0, struct.pack(">II", _TILE, _TILE))
        + _full(b"ispe", 0, 0, struct.pack(">II", *(says or (width, height)))),
    )
    belongs = [struct.pack(">HBB", 1, 1, 0x03)] + [struct.pack(">HBBB", tile, 2, 0x81, 0x02) for tile in tiles]
    properties += _full(b"ipma", 0, 0, struct.pack(">I", len(belongs)) + b"".join(belongs))

    def meta(start: int) -> bytes:
        places = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(described))]
        places += [struct.pack(">HHHHII", tile, 0, 0, 1, start, len(_CODED)) for tile in tiles]
        inside = [
            _full(b"hdlr", 0, 0, bytes(4) + b"pict" + bytes(13)),
            _full(b"pitm", 0, 0, struct.pack(">H", 1)),
            _full(b"iloc", 1, 0, struct.pack(">BBH", 0x44, 0, len(places)) + b"".join(places)),
            _full(b"iinf", 0, 0, struct.pack(">H", len(named)) + b"".join(named)),
            _full(b"iref", 0, 0, references),
            _box(b"iprp", properties),
            _box(b"idat", described),
        ]
        return _full(b"meta", 0, 0, b"".join(inside))

    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + _box(b"mdat", _CODED)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full(kind: bytes, version: int, flags: int, content: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + content)
