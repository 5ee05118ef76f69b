"""`Accept: image/png`: the annotated picture, drawn apart."""

import asyncio
import io

import pytest
from PIL import Image

from ferry.v1 import gateway_pb2, types_pb2
from gateway.http import pictures
from gateway.http.pictures import Pictures, wants_png
from gateway.http.problems import ProblemError
from tests.gateway.fakes import jpeg
from tests.gateway.http.conftest import problem

PNG = {"accept": "image/png"}


def answer(width, height, *boxes):
    faces = [
        types_pb2.Face(
            box=types_pb2.BoundingBox(x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3]),
            expression=types_pb2.EXPRESSION_HAPPY,
            confidence=0.9,
        )
        for box in boxes
    ]
    return gateway_pb2.RecognizeResponse(
        faces=faces, image_size=types_pb2.ImageSize(width=width, height=height), request_id="r" * 16
    )


async def test_the_answer_is_a_picture_where_that_is_asked_for(http):
    drawn = await http.predict(jpeg(), headers={**PNG, "x-request-id": "my-own-name"})
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/png")
    assert drawn.headers["x-request-id"] == "my-own-name"
    assert Image.open(io.BytesIO(drawn.content)).size == (480, 360), "small ones are enlarged, for letters"
    assert (await http.client.get("/readyz")).status_code == 200


async def test_boxes_are_where_the_faces_are_in_large_and_turned_pictures():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4000, 3000), (90, 90, 90)).save(out, "JPEG", exif=exif)
    drawn = await Pictures().draw(out.getvalue(), answer(3000, 4000, (1000, 2000, 2000, 3000)))
    picture = Image.open(io.BytesIO(drawn)).convert("RGB")
    assert picture.size == (1536, 2048)
    yellow = [picture.getpixel(at) for at in ((514, 1300), (1022, 1300), (700, 1026), (700, 1534))]
    assert all(red > 200 and green > 150 and blue < 120 for red, green, blue in yellow), yellow


async def test_modules_of_the_folder_that_the_gateway_is_started_in_are_none_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    assert (await Pictures().draw(jpeg(), answer(64, 48))).startswith(b"\x89PNG")


@pytest.mark.parametrize("image", [b"no picture", jpeg()[:200]])
async def test_what_cannot_be_drawn_into_is_said(image):
    with pytest.raises(ProblemError) as caught:
        await Pictures().draw(image, answer(64, 48))
    assert caught.value.problem.status == 406


@pytest.fixture
def hangs(monkeypatch, tmp_path):
    """A program that draws nothing and does not end."""
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "hangs"


async def test_a_process_that_dies_or_hangs_costs_one_answer(monkeypatch, hangs):
    monkeypatch.setattr(pictures, "SECONDS", 0.5)
    for program in ("tests.gateway.http.no_such_program", hangs):
        with pytest.raises(ProblemError):
            await Pictures(program).draw(jpeg(), answer(64, 48))


async def test_few_at_once(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_WAITING", 0)
    drawing = Pictures()
    first = asyncio.create_task(drawing.draw(jpeg(), answer(64, 48)))
    await asyncio.sleep(0)
    with pytest.raises(ProblemError) as caught:
        await drawing.draw(jpeg(), answer(64, 48))
    assert caught.value.problem.status == 429
    assert (await first).startswith(b"\x89PNG")


async def test_nothing_is_drawn_for_longer_than_the_caller_waits(start_http, monkeypatch, hangs):
    monkeypatch.setattr(Pictures.__init__, "__defaults__", (hangs,))
    http = await start_http()
    late = problem(await http.predict(jpeg(), headers=PNG, params={"timeout": 3}), 504)
    assert "no answer within" in late["detail"]


async def test_the_process_that_decodes_is_told_no_secrets(monkeypatch, tmp_path):
    (tmp_path / "tell.py").write_text("import os; print(sorted(os.environ))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FERRY_REDIS_URL", "redis://:secret@cache")
    told = (await Pictures("tell").draw(jpeg(), answer(64, 48))).decode()
    assert "PYTHONPATH" in told
    assert "FERRY" not in told


async def test_an_end_that_nobody_meant_is_logged(caplog):
    with pytest.raises(ProblemError):
        await Pictures("tests.gateway.http.no_such_program").draw(jpeg(), answer(64, 48))
    assert "ended with status 1" in caplog.text
    caplog.clear()
    with pytest.raises(ProblemError):
        await Pictures().draw(b"no picture", answer(64, 48))
    assert not caplog.text


async def test_an_error_stays_an_error(http):
    assert problem(await http.predict(b"no picture", headers=PNG), 400)["field"] == "image"


@pytest.mark.parametrize(
    ("accept", "png"),
    [
        ("", False),
        ("*/*", False),
        ("image/png", True),
        ("image/png, application/json;q=0.5", True),
        ("application/json, image/png;q=0.5", False),
        ("text/html, image/*, */*;q=0.8", False),
        ("image/png;q=x", False),
    ],
)
def test_who_wants_png(accept, png):
    assert wants_png(accept) is png
