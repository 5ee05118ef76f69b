"""Pictures with boxes."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from cli.annotate import annotate
from ferry.client import Box, Face


def face(x_min: float, y_min: float, x_max: float, y_max: float, expression: str = "happy") -> Face:
    return Face(Box(x_min, y_min, x_max, y_max), 0.9, expression, 0.8, MappingProxyType({}), (), False, ())


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    from PIL import ImageChops

    return ImageChops.difference(before, after).getbbox()


def test_draws_the_box_where_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (600, 500), "white").save(tmp_path / "a.png")
    picture = annotate(tmp_path / "a.png", [face(200, 150, 400, 350)])
    assert picture.size == (600, 500)
    box = changed(Image.new("RGB", (600, 500), "white"), picture)
    assert box is not None
    left, top, right, bottom = box
    assert 190 <= left <= 200
    assert 100 <= top < 150
    assert 400 <= right <= 410
    assert 350 <= bottom <= 360


@pytest.mark.parametrize("background", ["white", "black", "#ffc53d"])
def test_the_label_contrasts_with_itself_on_any_ground(tmp_path: Path, background: str) -> None:
    Image.new("RGB", (600, 500), background).save(tmp_path / "a.png")
    picture = annotate(tmp_path / "a.png", [face(200, 150, 400, 350)])
    tab = picture.crop((204, 125, 280, 145)).convert("L").getextrema()
    assert tab[1] - tab[0] > 120


@pytest.mark.parametrize("corners", [(0, 0, 30, 20), (590, 0, 600, 10), (0, 490, 5, 500), (-5, -5, 700, 700)], ids=str)
def test_labels_stay_inside(tmp_path: Path, corners: tuple[float, float, float, float]) -> None:
    Image.new("RGB", (600, 500), "blue").save(tmp_path / "a.png")
    picture = annotate(tmp_path / "a.png", [face(*corners)])
    amber = [xy for xy in ((x, y) for x in range(600) for y in range(500)) if picture.getpixel(xy) == (255, 197, 61)]
    assert len(amber) > 300


def test_upright_and_enlarged(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("L", (60, 40), 255).save(tmp_path / "a.jpg", exif=exif)
    picture = annotate(tmp_path / "a.jpg", [face(10, 20, 30, 50, "of a later version")])
    assert picture.size == (320, 480)
    assert picture.mode == "RGB"


def test_draws_what_the_detector_saw(tmp_path: Path) -> None:
    """Deep samples, which Pillow alone turns into white."""
    Image.fromarray(np.full((500, 600), 120 << 8, np.uint16)).save(tmp_path / "a.tif")
    assert annotate(tmp_path / "a.tif", []).getpixel((300, 200)) == (120, 120, 120)
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    with pytest.raises(OSError, match="not a readable"):
        annotate(tmp_path / "b.jpg", [])
