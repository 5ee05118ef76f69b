"""What a classifier sees: exact colour, size and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving import preprocess
from serving.preprocess import floats, prepare, to_grey
from serving.repository.manifest import Color, Encoding, InputSpec


def spec(
    color: Color = Color.GREY, size: int = 8, mean: float = 0, std: float = 1, resize: str = "bilinear"
) -> InputSpec:
    channels = 1 if color is Color.GREY else 3
    return InputSpec(
        name="images",
        width=size,
        height=size,
        color=color,
        mean=(mean,) * channels,
        std=(std,) * channels,
        resize=resize,
    )


def noise(count: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def test_grey_pixels_stay_what_they_are() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    np.testing.assert_array_equal(to_grey(greys), np.arange(256))


def test_grey_is_the_luma_that_image_libraries_compute() -> None:
    pixels = noise(1, 64)[0]
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert np.abs(to_grey(pixels).astype(int) - expected).max() <= 1


def test_pixels_are_scaled_and_normalised() -> None:
    crops = np.full((1, 8, 8, 3), 51, np.uint8)  # 0.2
    np.testing.assert_allclose(prepare(crops, spec(mean=0.5, std=0.25)), (0.2 - 0.5) / 0.25, rtol=1e-6)


def test_a_crop_of_the_right_size_is_not_resampled() -> None:
    crops = np.repeat(noise(2, 8)[..., :1], 3, axis=3)
    rows = prepare(crops, spec())
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(np.rint(rows * 255).astype(np.uint8)[:, 0], crops[..., 0])


def test_colour_keeps_its_channels_in_rgb_order() -> None:
    crops = np.zeros((1, 8, 8, 3), np.uint8)
    crops[..., 0] = 255
    rows = prepare(crops, spec(Color.RGB))
    assert rows.shape == (1, 3, 8, 8)
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows[0, :, 0, 0], [1, 0, 0])


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "box", "nearest"])
@pytest.mark.parametrize("color", list(Color))
def test_resizing_follows_the_manifest(resize: str, color: Color) -> None:
    crops = noise(3, 20)
    rows = prepare(crops, spec(color, size=8, resize=resize))
    filter_ = Image.Resampling[resize.upper()]
    for row, crop in zip(rows, crops, strict=True):
        image = Image.fromarray(to_grey(crop) if color is Color.GREY else crop).resize((8, 8), filter_)
        expected = np.asarray(image).reshape(8, 8, -1).transpose(2, 0, 1)
        np.testing.assert_array_equal(np.rint(row * 255), expected)


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "box", "nearest"])
@pytest.mark.parametrize("color", list(Color))
@pytest.mark.parametrize(("height", "width"), [(20, 20), (5, 5), (20, 8), (33, 6)])
def test_crops_side_by_side_have_nothing_of_each_other(height: int, width: int, color: Color, resize: str) -> None:
    crops = np.zeros((4, height, width, 3), np.uint8)
    crops[1::2] = 255
    rows = prepare(crops, spec(color, resize=resize))
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows[::2], 0)
    np.testing.assert_array_equal(rows[1::2], 1)
    crops = noise(4, max(height, width))[:, :height, :width]
    together = prepare(crops, spec(color, resize=resize))
    for row, crop in zip(together, crops, strict=True):
        image = Image.fromarray(to_grey(crop) if color is Color.GREY else crop)
        expected = np.asarray(image.resize((8, 8), Image.Resampling[resize.upper()])).reshape(8, 8, -1)
        np.testing.assert_array_equal(np.rint(row * 255), expected.transpose(2, 0, 1))


def test_no_crops_give_no_rows() -> None:
    assert prepare(np.zeros((0, 20, 20, 3), np.uint8), spec()).shape == (0, 1, 8, 8)


def test_each_crop_is_prepared_alone() -> None:
    crops = noise(4, 20)
    together = prepare(crops, spec())
    for index in range(4):
        np.testing.assert_array_equal(together[index : index + 1], prepare(crops[index : index + 1], spec()))


@pytest.mark.parametrize("color", list(Color))
def test_a_graph_that_takes_bytes_is_given_the_pixels_themselves(color: Color) -> None:
    wanted = spec(color, mean=0.5, std=0.25)
    taken = wanted.model_copy(update={"encoding": Encoding.BYTES})
    pixels = prepare(noise(2, 20), taken)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 8, 8, taken.channels)
    np.testing.assert_array_equal(floats(pixels, taken), prepare(noise(2, 20), wanted))


def test_what_is_resized_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    squares = preprocess._resize_squares

    def counted(pixels: Any, *how: Any) -> Any:
        sizes.append(pixels.nbytes)
        return squares(pixels, *how)

    monkeypatch.setattr(preprocess, "_resize_squares", counted)
    crops = noise(100, 256)
    together = prepare(crops, spec(Color.RGB))
    assert max(sizes) <= 4 << 20
    assert sum(sizes) == crops.nbytes
    np.testing.assert_array_equal(together, np.concatenate([prepare(crop[None], spec(Color.RGB)) for crop in crops]))
