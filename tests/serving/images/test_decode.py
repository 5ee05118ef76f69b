"""Every format, mode and orientation comes out as the same upright RGB pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serving.errors import InvalidArgumentError, OverloadedError
from serving.images import decode as decoding
from serving.images.decode import decode
from serving.images.header import read_header
from tests.serving.images.files import Pixels, encode, photo, tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
LOSSLESS = ("PNG", "BMP", "TIFF")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
ORIENTATION = 0x0112


def close(actual: Pixels, expected: Pixels, tolerance: float) -> None:
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape
    assert actual.flags.c_contiguous
    assert np.abs(actual.astype(int) - expected.astype(int)).mean() <= tolerance


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, axis=2)


@pytest.mark.parametrize("format_", FORMATS)
def test_colour(format_: str) -> None:
    options = {"quality": 95} if format_ in {"JPEG", "WEBP"} else {}
    data = encode(Image.fromarray(photo()), format_, **options)
    close(decode(data), photo(), 0 if format_ in LOSSLESS else 8)
    header = read_header(data)
    assert (header.format, header.width, header.height) == (format_, 48, 32)


@pytest.mark.parametrize("format_", FORMATS)
def test_grey(format_: str) -> None:
    close(decode(encode(Image.fromarray(photo()).convert("L"), format_)), grey(photo()), 4)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "GIF", "TIFF"])
def test_palette(format_: str) -> None:
    image = Image.fromarray(photo()).quantize(64)
    close(decode(encode(image, format_)), np.asarray(image.convert("RGB")), 0)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "GIF", "TIFF"])
def test_one_bit(format_: str) -> None:
    image = Image.fromarray(photo()).convert("1")
    close(decode(encode(image, format_)), np.asarray(image.convert("RGB")), 0)


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk(format_: str) -> None:
    image = Image.fromarray(photo()).convert("CMYK")
    close(decode(encode(image, format_)), photo(), 4)


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 100), (128, 177)])
def test_transparency_lies_on_white(format_: str, alpha: int, expected: int) -> None:
    image = Image.new("RGBA", (16, 16), (100, 100, 100, alpha))
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    close(decode(encode(image, format_, **options)), np.full((16, 16, 3), expected, np.uint8), 1)


def test_grey_with_alpha_lies_on_white() -> None:
    close(decode(encode(Image.new("LA", (8, 8), (100, 0)), "PNG")), np.full((8, 8, 3), 255, np.uint8), 0)


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_transparent_palette_entry_lies_on_white(format_: str) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 4, 8))
    pixels = decode(encode(image, format_, transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 7].tolist() == [200, 10, 10]


def test_a_transparent_colour_lies_on_white() -> None:
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    image.paste((90, 80, 70), (4, 0, 8, 8))
    pixels = decode(encode(image, "PNG", transparency=(10, 20, 30)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 7].tolist() == [90, 80, 70]


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_cut_to_eight(format_: str) -> None:
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    expected = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
    close(decode(encode(Image.fromarray(deep), format_)), expected, 0)


def test_thirty_two_bit_grey_has_the_range_of_its_samples() -> None:
    deep = np.array([[0, 250_000], [500_000, 1_000_000]], np.int32)
    assert decode(encode(Image.fromarray(deep), "TIFF"))[..., 0].tolist() == [[0, 63], [127, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[0.0, 0.5], [1.0, 0.25]], [[0, 127], [255, 63]]), ([[0.0, 300.0], [np.nan, 77.0]], [[0, 255], [0, 77]])],
)
def test_floating_point_grey(values: list[list[float]], expected: list[list[int]]) -> None:
    data = encode(Image.fromarray(np.array(values, np.float32)), "TIFF")
    assert decode(data)[..., 1].tolist() == expected


UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}
"""What the stored pixels must become, by EXIF 2.32: row 0 and column 0 of the storage are, for 6, right and top."""


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(photo()), format_, exif=exif)
    close(decode(data), UPRIGHT[orientation](photo()), 0 if format_ in LOSSLESS else 12)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kind", [1, 3, 4, 7, 8, 9])
@pytest.mark.parametrize("orientation", [3, 6])
def test_the_orientation_may_have_any_type_of_a_whole_number(format_: str, kind: int, orientation: int) -> None:
    """BYTE, SHORT, LONG, UNDEFINED, SSHORT, SLONG."""
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, ORIENTATION, kind, 1, orientation, 0)
    data = encode(Image.fromarray(photo()), format_, exif=exif)
    close(decode(data), UPRIGHT[orientation](photo()), 0 if format_ in LOSSLESS else 12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_the_orientation_of_a_tiff(kind: int, orientation: int) -> None:
    tags = [(256, 4, 1, 48), (257, 4, 1, 32), (258, 4, 1, 8), (262, 4, 1, 1), (274, kind, 1, orientation)]
    data = tiff([*tags, (273, 4, 1, 110), (277, 4, 1, 1), (279, 4, 1, 48 * 32)], grey(photo())[..., 0].tobytes())
    close(decode(data), UPRIGHT[orientation](grey(photo())), 0)


@pytest.mark.parametrize("keyword", ["Raw profile type exif", "XML:com.adobe.xmp"])
def test_an_orientation_in_text(keyword: str) -> None:
    info = PngInfo()
    if keyword.startswith("XML"):
        info.add_itxt(keyword, '<x tiff:Orientation="6"/>')
    else:
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        packed = exif.tobytes()
        info.add_text(keyword, f"\nexif\n{len(packed):8}\n{packed.hex()}\n", zip=True)
    close(decode(encode(Image.fromarray(photo()), "PNG", pnginfo=info)), UPRIGHT[6](photo()), 0)


@pytest.mark.parametrize("size", [100, 5_000_000])
@pytest.mark.parametrize("zip_", [False, True])
def test_text_of_any_size_is_no_reason_to_refuse_good_pixels(size: int, zip_: bool) -> None:
    info = PngInfo()
    for keyword in ("Comment", "Raw profile type exif"):
        info.add_text(keyword, "a" * size, zip=zip_)
        info.add_itxt(keyword, "b" * size, zip=zip_)
    close(decode(encode(Image.fromarray(photo()), "PNG", pnginfo=info)), photo(), 0)


@pytest.mark.parametrize("alpha", [0, 1, 255])
def test_a_bmp_whose_alpha_is_all_zero_has_none(alpha: int) -> None:
    """Programs that write 32 bits a pixel often leave the fourth byte empty, and say in the header that it is alpha."""
    height, width = photo().shape[:2]
    rows = np.concatenate([photo()[::-1, :, ::-1], np.full((height, width, 1), 0, np.uint8)], axis=2)
    rows[0, 0, 3] = alpha
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, rows.size, 2835, 2835, 0, 0) + masks
    data = b"BM" + struct.pack("<IHHI", 122 + rows.size, 0, 0, 122) + info.ljust(108, b"\0") + rows.tobytes()
    pixels = decode(data)
    if alpha == 0:
        close(pixels, photo(), 0)
    else:
        assert (pixels[:-1] == 255).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    close(decode(encode(Image.fromarray(photo()), "PNG", exif=exif)), photo(), 0)


def test_broken_exif_is_no_reason_to_refuse_good_pixels() -> None:
    data = encode(Image.fromarray(photo()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    close(decode(data), photo(), 0)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(format_: str) -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encode(frames[0], format_, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3
    close(decode(data), np.asarray(frames[0]), 1)


def test_a_phones_picture_with_more_pictures_behind_it() -> None:
    frames = [Image.fromarray(photo()), Image.new("RGB", (8, 8))]
    buffer = io.BytesIO()
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:], quality=95)
    close(decode(buffer.getvalue()), photo(), 8)


@pytest.mark.parametrize("format_", FORMATS)
def test_one_pixel(format_: str) -> None:
    assert decode(encode(Image.new("RGB", (1, 1), (9, 9, 9)), format_)).shape == (1, 1, 3)


def complete(format_: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    options = {"lossless": True} if format_ == "WEBP" else {}
    return encode(Image.fromarray(noise), format_, **options)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_truncated_file_is_refused(format_: str, share: float) -> None:
    data = complete(format_)
    with pytest.raises(InvalidArgumentError) as caught:
        decode(data[: int(len(data) * share)])
    assert caught.value.field == "image"


def test_the_limit_is_the_callers() -> None:
    data = encode(Image.fromarray(photo(100, 100)), "PNG")
    assert decode(data, max_megapixels=0.01).shape == (100, 100, 3)
    with pytest.raises(InvalidArgumentError, match=r"100 x 100 pixels, more than 0\.009 megapixels"):
        decode(data, max_megapixels=0.009)


def test_a_process_without_memory_does_not_blame_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    data = encode(Image.fromarray(photo()), "PNG")
    monkeypatch.setattr(decoding, "upright_rgb", full)
    with pytest.raises(OverloadedError, match="memory") as refused:
        decode(data)
    assert refused.value.retry_after > 0
