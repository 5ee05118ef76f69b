"""Labels in pictures of groups: beside faces, not on them."""

from __future__ import annotations

import time

from PIL import Image, ImageChops

from serving.images.drawing.draw import Mark, draw
from serving.images.drawing.layout import obstacles, overlap, place


def grid(columns: int, rows: int, side: int, step: int) -> list[tuple[float, float, float, float]]:
    return [
        (40.0 + x * step, 40.0 + y * step, 40.0 + x * step + side, 40.0 + y * step + side)
        for y in range(rows)
        for x in range(columns)
    ]


def test_where_there_is_room_no_label_covers_a_face_or_another_label() -> None:
    boxes = grid(5, 3, 60, 150)
    labels: list[tuple[float, float, float, float]] = []
    for box in boxes:
        label = place((120, 20), box, obstacles(boxes, labels), (800, 500))
        assert not any(overlap(label, other) for other in (*boxes, *labels))
        assert 0 <= label[0] <= label[2] <= 800
        assert 0 <= label[1] <= label[3] <= 500
        labels.append(label)


def test_a_face_at_the_upper_edge_has_its_label_below() -> None:
    label = place((80, 20), (100, 5, 160, 65), obstacles([(100, 5, 160, 65)], []), (400, 300))
    assert label[1] >= 65


def test_faces_of_a_group_can_still_be_seen() -> None:
    boxes = grid(8, 4, 36, 70)
    picture = draw(Image.new("RGB", (640, 360), "blue"), [Mark(box, "surprised", 0.93) for box in boxes])
    scale = picture.width / 640
    assert scale > 1, "small faces are enlarged"
    before = Image.new("RGB", picture.size, "blue")
    hidden = 0
    for box in boxes:
        inner = tuple(round(edge * scale) + inset for edge, inset in zip(box, (6, 6, -6, -6), strict=True))
        difference = ImageChops.difference(picture.crop(inner), before.crop(inner)).convert("L")
        seen = difference.histogram()[0] / (difference.width * difference.height)
        hidden += seen < 0.95
    assert hidden == 0


def test_as_many_faces_as_there_may_be_take_no_time() -> None:
    boxes = grid(16, 16, 20, 24)
    began = time.process_time()
    draw(Image.new("RGB", (480, 480)), [Mark(box, "happy", 1.0) for box in boxes])
    assert time.process_time() - began < 5, "the process that draws may take 10 s of CPU"
