"""`ferry stream`: JPEGs on standard input, a line for each frame that is answered."""

from __future__ import annotations

import io
import json
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from cli.jpegs import jpegs
from cli.main import main
from tests.client.conftest import FakeGateway, serving


def picture(shade: int, **how: Any) -> bytes:
    out = io.BytesIO()
    noise = Image.effect_noise((64, 48), 40 + shade)
    noise.save(out, "JPEG", **how)
    return out.getvalue()


def with_thumbnail(shade: int) -> bytes:
    exif = b"Exif\0\0" + picture(shade, quality=5)
    image = picture(shade)
    return image[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + image[2:]


PICTURES = [
    picture(1),
    picture(2, progressive=True),
    picture(3, restart_marker_blocks=1),
    with_thumbnail(4),
    picture(5)[:2] + b"\xff\xff" + picture(5)[2:],
]


class Pipe(io.RawIOBase):
    """Gives bytes in pieces of any size."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._data, self._chance = io.BytesIO(data), random.Random(seed)

    def read1(self, size: int) -> bytes:
        return self._data.read(self._chance.randint(1, 400))


@pytest.mark.parametrize("seed", range(3))
def test_pictures_are_told_apart(seed: int) -> None:
    for image in PICTURES:
        Image.open(io.BytesIO(image)).load()
    between = b"\0--boundary\r\nContent-Type: image/jpeg\r\n\r\n"
    assert list(jpegs(Pipe(between + between.join(PICTURES) + b"\xff", seed))) == PICTURES


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 200, 900])
def test_a_picture_that_is_cut_off_is_left_out(cut: int) -> None:
    assert list(jpegs(Pipe(PICTURES[0] + PICTURES[1][:cut], 0))) == PICTURES[:1]


@pytest.mark.parametrize("data", [b"", b"\xff", b"no picture" * 100])
def test_no_picture(data: bytes) -> None:
    assert list(jpegs(Pipe(data, 0))) == []


def test_a_picture_without_an_end_is_bounded() -> None:
    class Endless(io.RawIOBase):
        def read1(self, size: int) -> bytes:
            return b"\xff\xd8\xff\xda\0\2" + bytes(1 << 20)

    with pytest.raises(ValueError, match="no end within 32 MiB"):
        next(jpegs(Endless()))


@pytest.fixture
def address() -> Iterator[str]:
    with serving(FakeGateway()) as where:
        yield where


def ferry_stream(
    frames: bytes, *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(frames)
    with os.fdopen(read, "r", encoding="latin-1") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "argv", ["ferry", "stream", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_each_frame_that_is_answered_has_a_line(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ferry_stream(PICTURES[0], "--address", address, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, err) == (0, "")
    head, face, opinion = out.splitlines()
    assert head == "frame 0: 1 face, 12 ms, cached"
    assert "happy 0.75" in face
    assert "arcface 1: happy 0.70" in opinion


def test_or_a_line_of_json(address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    frames = b"".join(PICTURES)
    code, out, _ = ferry_stream(frames, "--json", "--address", address, monkeypatch=monkeypatch, capsys=capsys)
    answers = [json.loads(line) for line in out.splitlines()]
    numbers = [answer["frame"] for answer in answers]
    assert (code, numbers[-1], numbers) == (0, len(PICTURES) - 1, sorted(set(numbers)))
    assert answers[-1]["faces"][0]["expression"] == "happy"


def test_without_a_frame_or_a_cluster_it_says_so(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ferry_stream(b"GIF89a", "--address", address, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert "there is no JPEG in" in err
    where = "127.0.0.1:1"
    code, _, err = ferry_stream(PICTURES[0], "--address", where, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 1
    assert f"error: no gateway answers at {where}" in err
