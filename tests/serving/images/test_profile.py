"""Colours are what their ICC profile says, whatever the format; profiles that cannot be used change nothing."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from serving.images.decode import decode
from tests.serving.images import icc
from tests.serving.images.files import Pixels, encode, photo, png_chunk
from tests.serving.images.tiff.files import Kind, write

PROFILES = {
    "linear": (icc.SRGB, 1.0),
    "ProPhoto": (icc.PROPHOTO, 1.8),
    "Display P3": (icc.DISPLAY_P3, 2.2),
    "swapped": (icc.SWAPPED, 2.2),
}
FORMATS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


def muted() -> Pixels:
    """A photo whose colours lie inside every space."""
    return (96 + photo().astype(int) // 3).astype(np.uint8)


def difference(pixels: Pixels, expected: np.ndarray) -> float:
    return float(np.abs(pixels - expected).mean())


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", PROFILES)
def test_colours_are_what_the_profile_says(format_: str, name: str) -> None:
    profile = icc.rgb_profile(*PROFILES[name])
    data = encode(Image.fromarray(muted()), format_, icc_profile=profile, **FORMATS[format_])
    expected = icc.meant(muted(), *PROFILES[name])
    assert difference(decode(data), expected) < (1.5 if format_ == "JPEG" else 1)
    assert difference(muted(), expected) > 2


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG"])
def test_grey(format_: str) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = encode(Image.fromarray(grey), format_, icc_profile=icc.grey_profile(1.0), **FORMATS[format_])
    expected = np.repeat(icc.srgb(grey / 255)[..., None], 3, axis=2)
    assert difference(decode(data), expected) < 1.5


def test_transparent_pixels_and_palettes() -> None:
    profile, expected = icc.rgb_profile(*PROFILES["linear"]), icc.meant(muted(), *PROFILES["linear"])
    image = Image.fromarray(muted())
    alpha = Image.new("L", image.size, 128)
    image.putalpha(alpha)
    for format_ in ("PNG", "TIFF", "WEBP"):
        data = encode(image, format_, icc_profile=profile, **FORMATS[format_])
        assert difference(decode(data), expected * 128 / 255 + 127) < 1
    palette = Image.fromarray(muted()).quantize(200)
    data = encode(palette, "PNG", icc_profile=profile)
    assert difference(decode(data), icc.meant(np.asarray(palette.convert("RGB")), *PROFILES["linear"])) < 1


def test_sixteen_bits_have_their_profile_too() -> None:
    profile = icc.rgb_profile(*PROFILES["linear"])
    deep = muted().astype(np.uint16) * 257
    data = write(deep, Kind(tags={34675: tuple(np.frombuffer(profile, "<u2").tolist())}))
    assert difference(decode(data), icc.meant(muted(), *PROFILES["linear"])) < 1


def test_a_profile_that_is_srgb_leaves_every_pixel_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode(encode(Image.fromarray(photo()), "PNG", icc_profile=profile)), photo())


LINEAR = icc.rgb_profile(*PROFILES["linear"])
UNUSABLE = {
    "empty": b"",
    "short": LINEAR[:100],
    "cut off": LINEAR[:200],
    "no signature": LINEAR.replace(b"acsp", b"acsx"),
    "of grey": icc.grey_profile(1.0),
    "of CMYK": icc.profile(b"CMYK", {}),
    "of no colours": icc.profile(b"RGB ", {}),
    "a link": icc.profile(b"RGB ", {}, kind=b"link"),
    "many tags": LINEAR[:128] + b"\0\0\xff\xff" + LINEAR[132:] + bytes(1 << 20),
    "huge": LINEAR + bytes(5 << 20),
    "nonsense": np.random.default_rng(0).bytes(3000),
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_profile_that_cannot_be_used_is_no_reason_to_refuse_good_pixels(name: str, format_: str) -> None:
    image = Image.fromarray(photo())
    plain = decode(encode(image, format_, **FORMATS[format_]))
    data = encode(image, format_, icc_profile=UNUSABLE[name], **FORMATS[format_])
    np.testing.assert_array_equal(decode(data), plain)


def test_a_profile_that_unpacks_to_hundreds_of_megabytes_is_ignored() -> None:
    picture = encode(Image.fromarray(photo()), "PNG")
    bomb = png_chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(300 << 20), 9))
    started = time.process_time()
    np.testing.assert_array_equal(decode(picture[:33] + bomb + picture[33:]), photo())
    assert time.process_time() - started < 5


@pytest.mark.timeout(20)
@pytest.mark.parametrize("count", [1, 300_000])
def test_elements_that_may_be_named_half_a_million_times_are_not_applied(count: int) -> None:
    """Only what the profile says in other tags is."""
    matrix = b"matf" + bytes(4) + struct.pack(">HH12f", 3, 3, *(0.0 for _ in range(9)), 0.3, 0.3, 0.3)
    place = struct.pack(">II", 16 + 8 * count, len(matrix))
    elements = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, count) + place * count + matrix
    profile = icc.profile(b"RGB ", {**icc.rgb_tags(*PROFILES["linear"]), b"D2B0": elements})
    data = encode(Image.fromarray(muted()), "PNG", icc_profile=profile)
    assert difference(decode(data), icc.meant(muted(), *PROFILES["linear"])) < 1


def test_damaged_profiles_never_do_harm() -> None:
    """Bytes flipped in profiles of several kinds: pixels come out, of the right size."""
    random = np.random.default_rng(1)
    seeds = [LINEAR, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), icc.grey_profile(2.2)]
    for number in range(600):
        profile = bytearray(seeds[number % 3])
        for at in random.integers(0, len(profile), random.integers(1, 12)):
            profile[at] = random.integers(0, 256)
        image = Image.fromarray(photo()).convert("L" if number % 3 == 2 else "RGB")
        assert decode(encode(image, "PNG", icc_profile=bytes(profile))).shape == (32, 48, 3)
