"""The first directory of a TIFF or BigTIFF file of either byte order, read and written."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from serving.errors import InvalidArgumentError
from serving.images.pieces import too_many

WIDTH, HEIGHT = 256, 257
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES_PER_PIXEL = 273, 274, 277
ROWS_PER_STRIP, STRIP_BYTE_COUNTS, MAX_SAMPLE_VALUE, PLANAR = 278, 279, 281, 284
T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOR_MAP = 292, 293, 317, 320
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS = 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, S_MAX_SAMPLE_VALUE, JPEG_TABLES = 338, 339, 341, 347
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITIONING, REFERENCE_BLACK_WHITE = 529, 530, 531, 532
ICC_PROFILE = 34675

KNOWN = frozenset(
    {
        WIDTH, HEIGHT, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION,
        SAMPLES_PER_PIXEL, ROWS_PER_STRIP, STRIP_BYTE_COUNTS, MAX_SAMPLE_VALUE, PLANAR, T4_OPTIONS, T6_OPTIONS,
        PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS, EXTRA_SAMPLES, SAMPLE_FORMAT,
        S_MAX_SAMPLE_VALUE, JPEG_TABLES, YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITIONING,
        REFERENCE_BLACK_WHITE, ICC_PROFILE,
    }
)  # fmt: skip
"""Tags that say what the pixels are. All others are left out, so that neither Pillow nor libtiff sees them."""

MAX_TAGS = 1_024
MAX_VALUES = 65_536
"""Values of one tag, such as the offsets of strips; bytes that nobody takes for numbers may be more."""

_MAGIC = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_LONG, _LONG8 = 4, 16
# TIFF 6.0, section 2, and BigTIFF's three. Rationals and text are kept as bytes.
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def is_tiff(data: bytes) -> bool:
    """Whether it begins as a TIFF or BigTIFF file does."""
    return data[:4] in _MAGIC


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag's value: its type, how many, and their bytes in the file's order."""

    kind: int
    count: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """The known tags of one directory; `order` is the file's, "<" or ">", as in `struct`."""

    order: str
    entries: dict[int, Entry]

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The values of a numeric tag; empty where it is missing or not numeric."""
        entry = self.entries.get(tag)
        code = _CODES.get(entry.kind) if entry else None
        return struct.unpack(f"{self.order}{entry.count}{code}", entry.raw) if entry and code else ()

    def integers(self, tag: int) -> tuple[int, ...]:
        """The values of a tag of whole numbers; empty where it is missing or of another type."""
        return tuple(value for value in self.numbers(tag) if isinstance(value, int))

    def integer(self, tag: int, default: int) -> int:
        """The first value of a tag of whole numbers."""
        return next(iter(self.integers(tag)), default)

    def bytes(self, tag: int) -> bytes | None:
        """The value of a tag of opaque bytes."""
        entry = self.entries.get(tag)
        return entry.raw if entry else None


def read_directory(data: bytes) -> Directory:
    """Reads the known tags of the first directory.

    Raises:
        InvalidArgumentError: there is none, or it has more tags or values than any honest file; field `image`.
    """
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in {b"+\0", b"\0+"}
    start, tags, head, inline = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    entries: dict[int, Entry] = {}
    try:
        (position,) = struct.unpack_from(order + start, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + tags, data, position)
        if count > MAX_TAGS:
            raise too_many("tags", MAX_TAGS)
        position += struct.calcsize(order + tags)
        for _ in range(count):
            tag, kind, number = struct.unpack_from(order + head, data, position)
            position += struct.calcsize(order + head)
            size = _SIZES.get(kind, 1) * number
            if number > MAX_VALUES and (_SIZES.get(kind, 1) > 1 or tag in KNOWN - {ICC_PROFILE}):
                raise too_many("values in a tag", MAX_VALUES)
            (value,) = (position,) if size <= inline else struct.unpack_from(order + start, data, position)
            position += inline
            if tag in KNOWN and kind in _SIZES and value + size <= len(data):
                entries[tag] = Entry(kind, number, data[value : value + size])
    except (struct.error, OverflowError):
        raise InvalidArgumentError("image", "is a broken or truncated TIFF file") from None
    return Directory(order, entries)


def write(data: bytes, directory: Directory, changed: dict[int, tuple[int, ...]]) -> bytes:
    """The same file as a classic TIFF whose one directory has `changed` in place of what it said.

    Args:
        data: the file, for its pixels.
        directory: the tags to begin with.
        changed: whole numbers by tag; an empty tuple leaves a tag out.
    """
    order = directory.order
    entries = {tag: directory.entries[tag] for tag in directory.entries.keys() - changed.keys()}
    entries |= {
        tag: Entry(_LONG, len(values), struct.pack(f"{order}{len(values)}I", *values))
        for tag, values in changed.items()
        if values
    }
    start = len(data) + len(data) % 2
    overflow = start + 2 + 12 * len(entries) + 4
    fields, values = [struct.pack(order + "H", len(entries))], []
    for tag, entry in sorted(entries.items()):
        kind, raw = entry.kind, entry.raw
        if entry.kind >= _LONG8:
            numbers = struct.unpack(f"{order}{entry.count}{_CODES[entry.kind]}", entry.raw)
            kind, raw = _LONG, struct.pack(f"{order}{entry.count}I", *numbers)
        head = struct.pack(order + "HHI", tag, kind, entry.count)
        if len(raw) <= 4:
            fields.append(head + raw.ljust(4, b"\0"))
        else:
            fields.append(head + struct.pack(order + "I", overflow))
            values.append(raw + b"\0" * (len(raw) % 2))
            overflow += len(values[-1])
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return b"".join([magic, data[8:], b"\0" * (len(data) % 2), *fields, bytes(4), *values])
