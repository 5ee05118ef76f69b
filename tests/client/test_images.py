"""What can be given as an image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferry.client import AsyncClient, Client, InvalidImageError, InvalidRequestError
from ferry.client.images import MAX_BYTES, MAX_MEGAPIXELS, read
from ferry.client.pixels import shrink
from serving.images import header
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


def noise(width: int, height: int, format_: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(out, format_, **options)
    return out.getvalue()


def test_limits_are_those_of_a_cluster_with_default_settings() -> None:
    assert (MAX_BYTES, MAX_MEGAPIXELS) == (header.MAX_IMAGE_BYTES, header.MAX_MEGAPIXELS)


def test_what_is_within_the_limits_is_sent_as_it_is() -> None:
    data = noise(60, 40)
    assert shrink(data, len(data), 0.0024) == (data, None, 1.0)


@pytest.mark.parametrize(("max_bytes", "megapixels"), [(1 << 20, 0.03), (20_000, 40.0), (20_000, 0.03)])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_what_is_larger_becomes_smaller_in_the_same_proportion(max_bytes: int, megapixels: float, format_: str) -> None:
    data, size, factor = shrink(noise(300, 200, format_), max_bytes, megapixels)
    assert size is not None
    assert (size.width, size.height) == (300, 200)
    height, width = decoded(data).shape[:2]
    assert len(data) <= max_bytes
    assert width * height <= megapixels * 1e6
    assert width / height == pytest.approx(1.5, abs=0.03)
    assert width == pytest.approx(300 * factor)


def test_a_photo_on_its_side_becomes_upright_first() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data, size, _ = shrink(noise(300, 200, "JPEG", exif=exif), 1 << 20, 0.03)
    assert size is not None
    assert (size.width, size.height) == (200, 300)
    height, width = decoded(data).shape[:2]
    assert height > width


def test_what_is_no_image_is_left_to_the_cluster() -> None:
    assert shrink(b"no image", 4, 1) == (b"no image", None, 1.0)


def test_a_broken_image_above_the_limits_is_told() -> None:
    with pytest.raises(InvalidImageError, match="cannot make a smaller copy"):
        shrink(noise(300, 200)[:5000], 1000, 1)


async def test_boxes_are_in_pixels_of_what_was_given(
    address: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake says that every image has 640 x 480 pixels, and that a face begins at (1, 2).
    monkeypatch.setattr("ferry.client.images.MAX_MEGAPIXELS", 0.3072)
    large = noise(1280, 960, "JPEG")
    async with AsyncClient(address) as client:
        answer = await client.recognize(large, shrink=True, min_face_size=20)
        ((_, batched),) = [item async for item in client.recognize_batch([large], shrink=True)]
    with Client(address) as plain:
        whole = plain.recognize(large)
    assert decoded(gateway.requests[0].image).shape == (480, 640, 3)  # type: ignore[attr-defined]
    assert gateway.requests[0].options.min_face_size == 10  # type: ignore[attr-defined]
    for shrunk in (answer, batched):
        assert (shrunk.image_size.width, shrunk.image_size.height) == (1280, 960)
        assert (shrunk.faces[0].box.x_min, shrunk.faces[0].box.y_min) == (2, 4)
    assert (whole.image_size.width, whole.faces[0].box.x_min) == (640, 1)


def test_an_image_no_message_can_carry_says_how_it_could(address: str) -> None:
    with Client(address) as client, pytest.raises(InvalidImageError, match="shrink=True sends a smaller copy"):
        client.recognize(bytes(64 << 20))


def lazy(cut: int) -> Image.Image:
    """Opened, and not read yet."""
    out = io.BytesIO()
    Image.fromarray(PICTURE).resize((200, 200)).save(out, "JPEG")
    return Image.open(io.BytesIO(out.getvalue()[:cut]))


class Gone(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError("the network drive is gone")


def test_an_image_that_cannot_be_read_fails_alone(address: str, gateway: FakeGateway) -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    broken: list[Any] = [lazy(700), Image.new("RGB", (0, 5)), closed, Gone()]
    with Client(address) as client:
        found = dict(client.recognize_batch([b"good", *broken, b"as good"]))
    assert [index for index, result in found.items() if isinstance(result, InvalidImageError)] == [1, 2, 3, 4]
    assert sorted(found) == list(range(6))


def test_pixels_that_no_jpeg_holds_are_refused() -> None:
    with pytest.raises(InvalidImageError, match="cannot encode"):
        read(np.zeros((1, 70_000, 3), np.uint8), lossy=True)
