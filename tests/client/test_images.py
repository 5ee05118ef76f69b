"""What can be given as an image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ferry.client import Client, InvalidImageError, InvalidRequestError
from ferry.client.images import read
from tests.client.conftest import FakeGateway

PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def decoded(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


@pytest.mark.parametrize(
    "pixels", [PICTURE, PICTURE[..., 0], PICTURE[::-1, ::2], np.dstack([PICTURE, PICTURE[..., :1]])]
)
def test_an_array_travels_without_loss(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(decoded(read(pixels)), pixels)
    np.testing.assert_array_equal(decoded(read(Image.fromarray(pixels))), pixels)


def test_a_picture_of_pillows_travels_upright() -> None:
    image = Image.fromarray(PICTURE)
    image.getexif()[0x0112] = 6
    assert decoded(read(image)).shape == (6, 4, 3)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "I", "F", "LA", "YCbCr"])
def test_other_modes_are_converted(mode: str) -> None:
    assert decoded(read(Image.fromarray(PICTURE).convert("L").convert(mode))).shape[:2] == (4, 6)


@pytest.mark.parametrize(
    "array",
    [
        PICTURE.astype(np.float32),
        PICTURE.astype(np.int16),
        PICTURE[0, 0],
        PICTURE[None],
        PICTURE[..., :2],
        PICTURE[:0],
        np.array(b"x"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InvalidImageError, match="an array must be uint8") as raised:
        read(array)
    assert raised.value.field == "image"


def test_what_is_no_image_is_named() -> None:
    with pytest.raises(TypeError, match="not list"):
        read([1, 2])  # type: ignore[arg-type]


def test_pixels_and_request_ids_reach_the_cluster(address: str, gateway: FakeGateway) -> None:
    with Client(address) as client:
        client.recognize(PICTURE, request_id="album-0001.7")
        assert gateway.metadata["x-request-id"] == "album-0001.7"
        np.testing.assert_array_equal(decoded(gateway.requests[0].image), PICTURE)  # type: ignore[attr-defined]
        for wrong in ("short", "x" * 65, "with space", "umläut-1"):
            with pytest.raises(InvalidRequestError, match="8 to 64") as raised:
                client.recognize(b"x", request_id=wrong)
            assert raised.value.field == "request_id"
