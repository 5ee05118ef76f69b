"""An ordinary JPEG is known without a full look, and what is known is what the full look finds."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.errors import InvalidArgumentError
from serving.images import plain_jpeg
from serving.images.cost import outline, plain_outline
from serving.images.header import ImageHeader, read_header, read_plain_header
from tests.processes import ROOT

PHOTOS = sorted((ROOT / "samples").glob("*.jpg"))


def jpeg(width: int = 40, height: int = 30, mode: str = "RGB", **save: Any) -> bytes:
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    pixels = np.random.default_rng(width * height).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "JPEG", **save)
    return file.getvalue()


ORDINARY = {
    "plain": jpeg(),
    "grey": jpeg(mode="L"),
    "one pixel": jpeg(1, 1),
    "wide": jpeg(300, 2),
    "no subsampling": jpeg(subsampling=0),
    "4:2:0": jpeg(subsampling=2),
    "optimised": jpeg(optimize=True),
    "restarts": jpeg(restart_marker_blocks=2),
    "comment": jpeg(comment=b"\xff\xd9 of a comment"),
    "exif": jpeg(exif=Image.Exif()),
    "profile": jpeg(icc_profile=b"x" * 70_000),
}
ODD = {
    "cmyk": jpeg(mode="CMYK"),
    "cut in its header": jpeg()[:200],
    "png": b"\x89PNG\r\n\x1a\n",
    "nothing": b"",
    "fill bytes": b"\xff\xd8\xff" + jpeg()[2:],
    "many comments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 30 + jpeg()[2:],
    "progressive": jpeg(progressive=True),
    "many tables": b"\xff\xd8" + (b"\xff\xc4" + (2 + 17 * 20).to_bytes(2, "big") + bytes(17) * 20) + jpeg()[2:],
    "long": jpeg() + bytes(plain_jpeg.MAX_BYTES),
}
FULL = {
    "without an end": jpeg()[:-2],
    "cut in its scan": jpeg()[:-100],
    "a comment with an end in it after the scan": jpeg()[:-2] + b"\xff\xfe\x00\x04\xff\xd9",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_jpeg_is_known_at_once_as_the_full_look_knows_it(name: str) -> None:
    data = ORDINARY[name]
    assert read_plain_header(data) == read_header(data)
    assert plain_outline(data) == outline(data)


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_photos_are_as_the_full_look_has_them(photo: Any) -> None:
    data = photo.read_bytes()
    assert read_plain_header(data) in {None, read_header(data)}
    assert plain_outline(data) in (None, outline(data))


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_takes_the_full_look(name: str) -> None:
    assert read_plain_header(ODD[name]) is None
    assert plain_outline(ODD[name]) is None


@pytest.mark.parametrize("name", FULL)
def test_what_is_not_decoded_row_by_row_to_an_end_takes_the_full_look_before_it_is_decoded(name: str) -> None:
    data = FULL[name]
    assert read_plain_header(data) == read_header(data)
    assert plain_outline(data) is None


def test_a_picture_that_is_too_large_is_refused_with_the_same_words() -> None:
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    said = set()
    for read in (read_header, read_plain_header, outline, plain_outline):
        with pytest.raises(InvalidArgumentError) as caught:
            read(bytes(data))
        said.add(caught.value.message)
    assert len(said) == 1


def test_broken_files_are_never_taken_for_something_that_the_full_look_does_not_find() -> None:
    chance = random.Random(7)
    known = 0
    for _ in range(3_000):
        data = bytearray(chance.choice([*ORDINARY.values(), *FULL.values()])[:2_000])
        for _ in range(chance.randint(1, 3)):
            where = chance.randrange(2, min(len(data), 700))
            if chance.random() < 0.2:
                del data[where : where + chance.randint(1, 8)]
            else:
                data[where] = chance.choice([0, 1, 0xFF, 0xD9, 0xDA, chance.randrange(256)])
        try:
            header: ImageHeader | None = read_plain_header(bytes(data))
        except InvalidArgumentError as error:
            with pytest.raises(InvalidArgumentError, match=error.message.split(",")[0]):
                read_header(bytes(data))
            continue
        if header is None:
            continue
        known += 1
        assert header == read_header(bytes(data))
        assert plain_outline(bytes(data)) in (None, outline(bytes(data)))
    assert known > 500, "most mutations are of what nobody needs to look at"
