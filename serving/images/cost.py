"""What decoding an image costs in memory, known from its header.

Every term was measured (`python -m benchmarks decoding`, docs/decoding.md), and a test measures it again: what Pillow
and the libraries below it allocate follows from format, mode, and a few fields of the header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images import plain_jpeg
from serving.images.bands import BAND_PIXELS
from serving.images.header import MAX_MEGAPIXELS, check_size, heif_size, open_image
from serving.images.heif import KINDS
from serving.images.heif.process import process_bytes
from serving.images.jpeg_segments import coefficient_bytes, has_end
from serving.images.names import format_name
from serving.images.tiff.cost import loading_bytes, stored_bytes
from serving.images.tiff.directory import EXTRA_SAMPLES, is_tiff, read_directory
from serving.images.tiff.layout import read_layout
from serving.images.tiff.load import ASSOCIATED_ALPHA
from serving.images.webp import CODE_BYTES, most_code_bytes

REDUCTIONS = (1, 2, 4, 8)
"""Factors by which libjpeg shrinks while it decodes."""
RGB_BYTES = 3
"""Of one pixel of what `decode` returns."""
PHOTO_BYTES = 7
"""Of one pixel while an ordinary JPEG or PNG is decoded: Pillow's four and `decode`'s three."""
_RGBA_BYTES = 4
_SAMPLE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Of one pixel in Pillow's memory; 4 in all other modes, RGB among them."""
_BAND_BYTES = 20
"""Of one pixel of the band that is being turned into RGB: itself, with alpha, on white, as array, turned."""
_ROW_BYTES = 16
"""Of each row: where Pillow keeps that it begins, and what is missing to whole words."""
_FIXED = 8 << 20
"""Whatever the size: decoders' state, tables, buffers of rows, colour profiles."""
_FILE_COPIES = 4
"""Of the encoded bytes, at most: the caller's, without metadata, the reader's, the decoder's."""


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """Bytes beside the process itself.

    peak: most at any moment while the image is decoded; held: for as long as its pixels are.
    """

    peak: int
    held: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of an image before it is decoded.

    format, mode: Pillow's names, or a TIFF's samples; width, height: as stored, in pixels; costs: by the factor by
    which it can be shrunk while it is decoded, 1 among them; apart: whether it is to be decoded in a process of its own
    (`serving.images.apart`), since it could take more than that.
    """

    format: str
    mode: str
    width: int
    height: int
    costs: Mapping[int, DecodeCost]
    apart: bool = False


def outline(data: bytes, max_megapixels: float = MAX_MEGAPIXELS, *, heif: bool = False) -> Outline:
    """Reads the header of an encoded image.

    Args:
        data: the encoded image.
        max_megapixels: largest width * height / 10^6.
        heif: whether HEIC and AVIF are decoded.

    Raises:
        InvalidArgumentError: empty, of no known format, broken, or too large; field `image`.
    """
    if is_tiff(data):
        limit = partial(check_size, max_megapixels=max_megapixels)
        directory = read_directory(data)
        layout = read_layout(directory, len(data), limit)
        mode = f"{layout.samples} x {layout.bits} bit"
        associated = directory.integers(EXTRA_SAMPLES)[:1] == (ASSOCIATED_ALPHA,)
        codes = 0 if layout.ours else most_code_bytes(data, layout.width * layout.height)
        cost = _cost(
            layout.width,
            layout.height,
            loading=loading_bytes(layout, associated_alpha=associated) + min(codes, CODE_BYTES),
            stored=stored_bytes(layout),
            file=len(data),
        )
        return Outline("TIFF", mode, layout.width, layout.height, {1: cost}, codes > CODE_BYTES)
    if (name := format_name(data)) in KINDS:
        width, height = heif_size(data, max_megapixels, allowed=heif)
        answer = _RGBA_BYTES * width * height
        cost = _cost(width, height, loading=process_bytes(width * height) + answer, stored=_RGBA_BYTES, file=len(data))
        return Outline(str(name), "RGBA", width, height, {1: cost})
    with open_image(data, max_megapixels, pixels=False) as image:
        if image.format == "JPEG":
            # One that has no end is decoded twice more (serving.images.truncation).
            times, coefficients = 1 if has_end(data) else 3, coefficient_bytes(data)
            return _jpeg_outline(image.mode, image.size, len(data), times, coefficients)
        codes = most_code_bytes(data, image.width * image.height) if image.format == "WEBP" else 0
        cost = _opened_cost(image, len(data), min(codes, CODE_BYTES))
        return Outline(image.format or "", image.mode, image.width, image.height, {1: cost}, codes > CODE_BYTES)


def plain_outline(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Outline | None:
    """As `outline` in microseconds, for an ordinary JPEG that is decoded row by row; None: it takes the full look.

    Raises:
        InvalidArgumentError: it is too large; field `image`.
    """
    jpeg = plain_jpeg.look(data)
    if jpeg is None or not plain_jpeg.has_end(data, jpeg):
        return None
    check_size(jpeg.width, jpeg.height, max_megapixels)
    return _jpeg_outline("RGB" if jpeg.components == 3 else "L", (jpeg.width, jpeg.height), len(data))


def _jpeg_outline(mode: str, size: tuple[int, int], file: int, times: int = 1, coefficients: int = 0) -> Outline:
    """
    Args:
        mode, size: as Pillow has them.
        file: bytes of it.
        times: that it is decoded.
        coefficients: bytes of them that are held for the whole picture.
    """
    width, height = size
    stored, costs = _SAMPLE_BYTES.get(mode, 4), {}
    for by in REDUCTIONS:
        columns, rows = -(-width // by), -(-height // by)
        loading = stored * columns * rows * times + coefficients
        costs[by] = _cost(columns, rows, loading=loading, stored=stored, file=file)
    return Outline("JPEG", mode, width, height, costs)


def _opened_cost(image: Image.Image, file: int, codes: int) -> DecodeCost:
    width, height = image.size
    stored = _SAMPLE_BYTES.get(image.mode, 4)
    loading, beside = stored * width * height, 0
    if image.format == "WEBP":
        loading += 8 * width * height + codes  # libwebp's two canvases; its bytes become Pillow's image
    elif image.format == "GIF":
        beside = width * height  # what the screen is filled with afterwards
    elif image.format == "BMP":
        loading += 2 * width * height  # run lengths are unpacked in Python
    return _cost(width, height, loading=loading + beside, stored=stored, beside=beside, file=file)


def _cost(width: int, height: int, *, loading: int, stored: int, file: int, beside: int = 0) -> DecodeCost:
    """
    Args:
        width, height: of what is decoded, in pixels.
        loading: bytes at the peak until the decoded image is there.
        stored: bytes of a pixel of that image.
        file: bytes of the encoded image.
        beside: bytes that stay until the image goes.
    """
    pixels = width * height
    fixed, held = _FIXED + _FILE_COPIES * file + _ROW_BYTES * height, pixels * RGB_BYTES
    band = _BAND_BYTES * min(pixels, max(BAND_PIXELS, width))
    return DecodeCost(peak=fixed + max(loading, pixels * stored + beside + held + band), held=fixed + held)


def check_cost(image: Outline, cost: DecodeCost, budget: int) -> None:
    """Refuses what fits no budget.

    Raises:
        InvalidArgumentError: it would take more than `budget` bytes; field `image`.
    """
    if cost.peak > budget:
        raise InvalidArgumentError(
            "image",
            f"takes {_mebibytes(cost.peak)} to decode ({image.format}, {image.mode}, {image.width} x {image.height} "
            f"pixels), more than the {_mebibytes(budget)} of this service; send a smaller copy",
        )


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
