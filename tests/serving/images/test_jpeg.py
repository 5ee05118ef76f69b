"""JPEGs that are decoded straight into an array are what Pillow makes of them; odd ones go to Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from serving.images import shrink
from serving.images.jpeg import decode_jpeg
from serving.images.shrink import resize
from serving.images.truncation import draft
from tests.serving.images.files import encode

WAYS = [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}, {"restart_marker_rows": 1}]


def picture(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def opened(data: bytes, reduction: int = 1) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    draft(image, reduction)
    return image


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(64, 48), (65, 47), (7, 33), (1, 1)])
def test_pixels_are_pillows(how: dict[str, object], reduction: int, size: tuple[int, int]) -> None:
    data = encode(picture(*size), "JPEG", **how)
    image = Image.open(io.BytesIO(data))
    pixels = decode_jpeg(data, image, draft(image, reduction))
    assert isinstance(pixels, np.ndarray)
    np.testing.assert_array_equal(pixels, np.asarray(opened(data, reduction)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_are_left_to_pillow(mode: str) -> None:
    data = encode(picture(64, 48).convert(mode), "JPEG")
    assert isinstance(decode_jpeg(data, opened(data), 1), Image.Image)


def test_what_libjpeg_warns_of_is_left_to_pillow() -> None:
    data = encode(picture(64, 48), "JPEG")
    without_end = data[:-2]
    assert isinstance(decode_jpeg(without_end, opened(without_end), 1), Image.Image)
    cut = data[: len(data) * 2 // 3]
    with pytest.raises(OSError, match="missing"):
        decode_jpeg(cut, opened(cut), 1)


@pytest.mark.parametrize("simd", [True, False])
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX])
@pytest.mark.parametrize("size", [(32, 24), (31, 77), (200, 150), (8, 8), (1, 1)])
@pytest.mark.parametrize("box", [None, (3.3, 1.7, 60.1, 47.9), (0.1, 0.2, 64.0, 48.0)])
def test_resizing_is_pillows(
    resample: Image.Resampling,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None,
    simd: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not simd:
        monkeypatch.setattr(shrink, "simd", None)
    image = picture(64, 48)
    actual = resize(np.asarray(image), *size, resample, box)
    assert actual.shape == (*size[::-1], 3)
    wanted = np.asarray(image.resize(size, resample, box=box)).astype(int)
    assert np.abs(actual.astype(int) - wanted).max() <= 3
