"""Pictures looked at in a process of their own: the same answers, and an end that is borne."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images.apart.helper import Helper
from serving.images.cost import outline
from serving.images.decode import decode_reduced
from tests.services.detector import deadly
from tests.serving.images.files import encode, photo, png_header
from tests.serving.images.webp_files import many_groups

PHOTO = Image.fromarray(photo(300, 200))
PICTURES = {
    "JPEG": encode(PHOTO, "JPEG"),
    "JPEG on its side": encode(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "PNG": encode(PHOTO.convert("RGBA"), "PNG"),
    "WebP": encode(PHOTO, "WEBP"),
    "GIF": encode(PHOTO, "GIF"),
    "TIFF": encode(PHOTO, "TIFF"),
}


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    started = Helper()
    yield started
    started.close()


@pytest.fixture(scope="module")
def deadly_helper() -> Iterator[Helper]:
    started = Helper(deadly.NAME)
    yield started
    started.close()


def look(helper: Helper, data: bytes) -> None:
    helper.outline(data, 1)
    helper.decode(data, 1, 1, 1 << 20)


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())
def test_it_sees_what_this_process_would_see(helper: Helper, data: bytes) -> None:
    here = outline(data, 1)
    assert helper.outline(data, 1) == here
    for reduction, cost in here.costs.items():
        apart, own = helper.decode(data, reduction, 1, cost.peak), decode_reduced(data, reduction, 1)
        np.testing.assert_array_equal(apart.pixels, own.pixels)
        assert (apart.width, apart.height, apart.reduction) == (own.width, own.height, own.reduction)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"text", "not a readable"),
        (PICTURES["PNG"][:900], "truncated"),
        (png_header(9000, 9000), "mega"),
    ],
)
def test_it_refuses_what_this_process_would_refuse(helper: Helper, data: bytes, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        look(helper, data)
    assert caught.value.field == "image"


@pytest.mark.parametrize("mark", [deadly.DEADLY_HEADER, deadly.DEADLY_PIXELS])
def test_a_picture_that_kills_is_refused_and_the_next_one_is_seen(deadly_helper: Helper, mark: bytes) -> None:
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match=r"ends the process that decodes it \(SIGSEGV\)"):
            look(deadly_helper, PICTURES["PNG"] + mark)
        assert deadly_helper.outline(PICTURES["PNG"], 1).width == 300


def test_a_picture_gets_no_more_memory_than_it_was_said_to_need(helper: Helper) -> None:
    data = encode(Image.new("RGB", (6000, 6000)), "PNG")
    with pytest.raises(InvalidArgumentError, match="takes more than the 1 MiB that its header allows for"):
        helper.decode(data, 1, 40, 1 << 20)
    assert helper.decode(data, 1, 40, outline(data).costs[1].peak).pixels.shape == (6000, 6000, 3)


def test_codes_that_take_more_than_a_header_says_are_for_it(helper: Helper) -> None:
    bomb = many_groups(1024)
    seen = outline(bomb)
    assert len(bomb) < 300_000
    assert seen.apart
    assert seen.costs[1].peak < 80 << 20
    with pytest.raises(InvalidArgumentError, match=r"ends the process|broken or truncated|takes more memory"):
        helper.decode(bomb, 1, 40, seen.costs[1].peak)
    few = many_groups(1024, groups=2_600)
    assert (helper.decode(few, 1, 40, outline(few).costs[1].peak).pixels == 0).all()


def test_ordinary_lossless_pictures_are_decoded_there_too_and_all_others_here(helper: Helper) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1200, 4), np.uint8))
    for mode, options in (("RGB", {"lossless": True}), ("RGBA", {"lossless": True}), ("RGBA", {})):
        data = encode(noise.convert(mode), "WEBP", **options)
        seen = outline(data)
        assert seen.apart
        found = helper.decode(data, 1, 40, seen.costs[1].peak)
        np.testing.assert_array_equal(found.pixels, decode_reduced(data, 1).pixels)
    icon = encode(PHOTO.resize((64, 64)), "WEBP", lossless=True)
    assert not any(outline(data).apart for data in (icon, *PICTURES.values(), encode(noise.convert("RGB"), "WEBP")))


def test_a_program_that_answers_nothing_ends_as_a_refusal() -> None:
    helper = Helper("this")
    with pytest.raises(InvalidArgumentError, match="ends the process"):
        helper.outline(PICTURES["PNG"], 1)
    helper.close()
