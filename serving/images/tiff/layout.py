"""How a TIFF file keeps its pixels, checked: whatever Ferry would read wrongly is refused by name here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from serving.errors import InvalidArgumentError
from serving.images.tiff import directory as tags
from serving.images.tiff.directory import Directory

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
RAW = 1
JPEG = 7
COMPRESSIONS_OF_BYTES = {RAW: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate", 50000: "Zstandard"}
_OTHER_COMPRESSIONS = {2: "CCITT RLE", 3: "CCITT T.4", 4: "CCITT T.6", JPEG: "JPEG", 50001: "WebP"}
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
_DEPTHS = {
    UNSIGNED: (1, 2, 4, 8, 10, 12, 14, 16, 32),
    SIGNED: (8, 16, 32),
    FLOAT: (16, 32, 64),
}
_NAMES = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point"}

MAX_SAMPLE_BYTES = 256 << 20
"""Largest decoded size of all samples: 16-bit RGB of 40 megapixels fits."""
MAX_SAMPLES = 16
"""Samples of one pixel; four are colours, the others are there for programs that know them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Pixels of one image.

    width, height: in pixels as stored; samples: of one pixel, colours first; bits: of one sample; format, photometric,
    compression, predictor: TIFF's numbers; planar: each sample in a plane of its own; block_width, block_height: of a
    strip or tile in pixels; offsets, counts: of the blocks, in bytes, plane by plane.
    """

    width: int
    height: int
    samples: int
    bits: int
    format: int
    photometric: int
    compression: int
    predictor: int
    planar: bool
    tiled: bool
    block_width: int
    block_height: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def colours(self) -> int:
        """Samples of one pixel that are colours; what comes behind them is alpha or unknown."""
        return _COLOURS[self.photometric]

    @property
    def across(self) -> int:
        """Blocks beside each other."""
        return -(-self.width // self.block_width)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one block of one plane."""
        return -(-self.block_width * (1 if self.planar else self.samples) * self.bits // 8)

    @property
    def sample_bytes(self) -> int:
        """Bytes of all samples, decoded, the unused part of the last tiles included."""
        return self.row_bytes * self.across * self.height * (self.samples if self.planar else 1)

    @property
    def ours(self) -> bool:
        """Whether the samples are put together here; if not, Pillow does it, and is known to do it right."""
        return (
            self.bits >= 8
            and self.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK}
            and self.compression in COMPRESSIONS_OF_BYTES
        )


def read_size(directory: Directory) -> tuple[int, int]:
    """Width and height in pixels as stored; 0 where the directory does not say."""
    return directory.integer(tags.WIDTH, 0), directory.integer(tags.HEIGHT, 0)


def read_layout(directory: Directory, size: int, check_size: Callable[[int, int], None]) -> Layout:
    """Reads and checks the layout.

    Args:
        directory: of the file.
        size: of the file in bytes.
        check_size: is asked about width and height before anything is reckoned with them.

    Raises:
        InvalidArgumentError: broken, truncated, or of a kind that Ferry does not read; field `image`.
    """
    width, height = read_size(directory)
    check_size(width, height)
    samples = directory.integer(tags.SAMPLES_PER_PIXEL, 1)
    bits = directory.integers(tags.BITS_PER_SAMPLE) or (1,)
    formats = directory.integers(tags.SAMPLE_FORMAT) or (UNSIGNED,)
    photometric = directory.integer(tags.PHOTOMETRIC, -1)
    compression = directory.integer(tags.COMPRESSION, RAW)
    if photometric not in _COLOURS:
        _refuse("the raw values of a camera" if photometric == 32803 else f"photometric interpretation {photometric}")
    if not _COLOURS[photometric] <= samples <= MAX_SAMPLES:
        _refuse(f"{samples} samples in a pixel")
    if len(set(bits[:samples])) > 1 or len(set(formats[:samples])) > 1:
        _refuse("samples of different kinds in one pixel")
    kind = 1 if formats[0] == 4 else formats[0]  # 4 is "undefined"
    if bits[0] not in _DEPTHS.get(kind, ()):
        _refuse(f"{bits[0]}-bit {_NAMES.get(kind, 'complex')} samples")
    if compression not in COMPRESSIONS_OF_BYTES.keys() | _OTHER_COMPRESSIONS.keys():
        _refuse(f"compression {compression}")
    tiled = tags.TILE_OFFSETS in directory.entries
    block_width = directory.integer(tags.TILE_WIDTH, 0) if tiled else width
    block_height = directory.integer(tags.TILE_LENGTH if tiled else tags.ROWS_PER_STRIP, 0 if tiled else height)
    if block_width < 1 or block_height < 1 or (tiled and (block_width % 16 or block_height % 16)):
        raise InvalidArgumentError("image", f"is a broken TIFF file: blocks of {block_width} x {block_height} pixels")
    layout = Layout(
        width,
        height,
        samples,
        bits[0],
        kind,
        photometric,
        compression,
        directory.integer(tags.PREDICTOR, 1),
        directory.integer(tags.PLANAR, 1) == 2 and samples > 1,
        tiled,
        block_width,
        block_height if tiled else min(block_height, height),
        directory.integers(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS),
        directory.integers(tags.TILE_BYTE_COUNTS if tiled else tags.STRIP_BYTE_COUNTS),
    )
    _check_support(layout)
    subsampling = directory.integers(tags.YCBCR_SUBSAMPLING) or (2, 2)
    if photometric == YCBCR and compression == RAW and subsampling != (1, 1):
        _refuse("colours of a lower resolution that are not compressed")
    return _check_blocks(layout, size)


def _check_support(layout: Layout) -> None:
    if layout.sample_bytes > MAX_SAMPLE_BYTES:
        raise InvalidArgumentError(
            "image",
            f"has {layout.sample_bytes >> 20} MiB of samples, more than {MAX_SAMPLE_BYTES >> 20} MiB; "
            "send it with 8 bits a sample, or a smaller copy",
        )
    if layout.ours:
        whole = layout.bits in {8, 16, 32, 64}
        if layout.predictor not in ({1, 2, 3} if layout.format == FLOAT else {1, 2} if whole else {1}):
            _refuse(f"predictor {layout.predictor} on {layout.bits}-bit {_NAMES[layout.format]} samples")
    elif layout.planar:
        _refuse("planes that are compressed or coloured in a rare way")
    elif layout.bits > 8 or layout.format != UNSIGNED:
        method = _OTHER_COMPRESSIONS.get(layout.compression, COMPRESSIONS_OF_BYTES.get(layout.compression))
        _refuse(f"{layout.bits}-bit samples of photometric interpretation {layout.photometric}, compression {method}")


def _check_blocks(layout: Layout, size: int) -> Layout:
    """The layout with as many blocks as its pixels need, each of them within the file."""
    down = -(-layout.height // layout.block_height)
    needed = layout.across * down * (layout.samples if layout.planar else 1)
    if len(layout.offsets) < needed:  # known before anything is made of blocks that a file only says it has
        raise _broken()
    offsets, counts = layout.offsets[:needed], layout.counts[:needed]
    if layout.compression == RAW and layout.ours:
        # Writers are careless about these sizes, and readers do not need them.
        rows = [min(layout.block_height, layout.height - i * layout.block_height) for i in range(down)]
        heights = [layout.block_height] * down if layout.tiled else rows
        per_plane = [height * layout.row_bytes for height in heights for _ in range(layout.across)]
        counts = tuple(per_plane * (layout.samples if layout.planar else 1))
    elif not counts and len(offsets) == 1:
        counts = (size - offsets[0],)
    elif layout.ours:
        # The last block may lack what comes after its pixels; where it lacks more, it cannot be unpacked.
        counts = tuple(min(count, size - offset) for count, offset in zip(counts, offsets, strict=False))
    if len(counts) < needed or any(c < 1 or o < 1 or o + c > size for o, c in zip(offsets, counts, strict=True)):
        raise _broken()
    return Layout(
        **{name: getattr(layout, name) for name in Layout.__slots__ if name not in {"offsets", "counts"}},
        offsets=offsets,
        counts=counts,
    )


def _broken() -> InvalidArgumentError:
    return InvalidArgumentError("image", "is a broken or truncated TIFF file")


def _refuse(what: str) -> NoReturn:
    raise InvalidArgumentError("image", f"is a TIFF file with {what}, which is not read; save it as PNG or 8-bit RGB")
