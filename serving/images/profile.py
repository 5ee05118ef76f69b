"""Colours as sRGB: what an ICC profile says about a picture's numbers is applied before they are looked at."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable

from PIL import Image, ImageCms

MAX_BYTES = 4 << 20
"""Profiles of printing presses, the largest, have two or three MiB."""
MAX_TAGS = 100
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_CLASSES = {b"mntr", b"scnr", b"prtr", b"spac"}
_HEADER, _TAG = 128, 12
_ELEMENTS = b"mpet"
_JUST_NOTICEABLE = 2
"""Grey levels; profiles that change no colour by more are not applied."""
_STEPS = 9


Transform = Callable[[Image.Image], Image.Image]


def srgb_transform(profile: bytes | None, mode: str) -> Transform | None:
    """What turns the colours of a profile into sRGB; None where nothing is to be done.

    A profile is an opinion of whoever wrote the file, not a reason to refuse good pixels: one that is broken, too large
    (4 MiB, 100 tags) or of another colour space than the picture is ignored, as browsers do.

    Args:
        profile: ICC.1, of any version that LittleCMS reads.
        mode: of the pictures to be turned: L, LA, RGB, RGBA or CMYK; for others the answer is None.

    Returns:
        A function from a picture of that mode to one in RGB, or RGBA where there is alpha.
    """
    solid = {"LA": "L", "RGBA": "RGB"}.get(mode, mode)
    if profile is None or _mode(profile) != solid:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(_without_elements(profile)))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), solid, "RGB")
        if not _shows(transform, solid):
            return None
    except Exception:
        return None  # LittleCMS refuses what it cannot use in many ways

    def apply(image: Image.Image) -> Image.Image:
        if image.mode == solid:
            return _apply(image, transform)
        alpha = image.getchannel("A")
        image = _apply(image.convert(solid), transform)
        image.putalpha(alpha)
        return image

    return apply


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """CIE L*a*b* (mode LAB) in RGB."""
    return _apply(image, _lab_transform())


@functools.cache
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    turned = ImageCms.applyTransform(image, transform)
    if turned is None:
        raise ValueError("no picture")
    return turned


def _mode(profile: bytes) -> str | None:
    """Pillow's mode of the colours that a profile describes; None where it is none that is used here."""
    if not _HEADER + 4 <= len(profile) <= MAX_BYTES or profile[36:40] != b"acsp" or profile[12:16] not in _CLASSES:
        return None
    (tags,) = struct.unpack_from(">I", profile, _HEADER)
    if tags > MAX_TAGS or _HEADER + 4 + tags * _TAG > len(profile):
        return None
    return _SPACES.get(profile[16:20])


def _without_elements(profile: bytes) -> bytes:
    """The profile without its tags of multi-process elements (ICC.1:2022, section 10.16).

    Their list may name one element half a million times, each of which LittleCMS applies to every colour. Profiles that
    have some say the same for programs that do not read them in other tags.
    """
    plain = bytearray(profile)
    (tags,) = struct.unpack_from(">I", profile, _HEADER)
    for number, at in enumerate(range(_HEADER + 4, _HEADER + 4 + tags * _TAG, _TAG)):
        (start,) = struct.unpack_from(">I", profile, at + 4)
        if profile.startswith(_ELEMENTS, start):
            plain[at : at + 4] = f"x{number:03}".encode()
    return bytes(plain)


def _shows(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether anybody would see the difference: most profiles are sRGB under another name."""
    if mode == "CMYK":
        return True
    probe = _probe(mode)
    pairs = zip(probe.convert("RGB").tobytes(), _apply(probe, transform).tobytes(), strict=True)
    return any(abs(before - after) > _JUST_NOTICEABLE for before, after in pairs)


@functools.cache
def _probe(mode: str) -> Image.Image:
    """Colours from all over the space."""
    steps = [round(i * 255 / (_STEPS - 1)) for i in range(_STEPS)]
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(range(256)))
    colours = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
    return Image.frombytes("RGB", (_STEPS**3, 1), colours)
