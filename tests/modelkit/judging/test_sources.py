"""Pictures are read as people keep them; what cannot be judged is an error or is said to be left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelkit.data.expressions import DataError
from modelkit.data.votes import VOTES
from modelkit.judging.sources import read_pictures
from tests.modelkit.judging.faces import ANGRY, HAPPY, NEUTRAL, picture, write_folder, write_parquet


def read(data: Path, split: str = "x", limit: int | None = None) -> Any:
    return read_pictures(data, split, 64, limit)


def test_parquet_of_any_size_grey_or_colour(tmp_path: Path) -> None:
    images = [
        picture(size=(48, 48)),
        picture(size=(300, 200), kind="JPEG"),
        picture(size=(30, 50)),
        picture(size=(8, 8)),
    ]
    pictures = read(write_parquet(tmp_path / "x.parquet", [0, 3, 6, 1], images))
    assert [crop.shape for crop in pictures.crops] == [(48, 48, 3), (64, 64, 3), (50, 50, 3), (8, 8, 3)]
    assert pictures.labels.tolist() == [0, 3, 6, 1]
    assert pictures.sizes.tolist() == [48, 300, 50, 8]
    assert not pictures.voted
    assert pictures.left_out == ()


def test_pictures_as_the_library_datasets_keeps_them(tmp_path: Path) -> None:
    nested = pa.array([{"bytes": picture(), "path": None}])
    assert len(read(write_parquet(tmp_path / "x.parquet", [3], image=nested))) == 1


def test_a_picture_of_4000_pixels_is_judged_and_one_of_a_single_pixel_is_left_out(tmp_path: Path) -> None:
    images = [picture(size=(4000, 4000)), picture(size=(1, 1)), picture(size=(7, 3))]
    pictures = read(write_parquet(tmp_path / "x.parquet", [0, 3, 6], images))
    assert pictures.crops[0].shape == (64, 64, 3)
    assert pictures.labels.tolist() == [0]
    assert pictures.left_out == ("2 pictures of less than 8 px",)


def test_the_same_picture_under_the_same_name_counts_once(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [3, 3], [picture(), picture()], name=["a", "a"])
    pictures = read(path)
    assert len(pictures) == 1
    assert pictures.left_out == ("1 picture that stood there already under the same name",)


@pytest.mark.parametrize(("labels", "images"), [([3, 4], [picture(), picture()]), ([3, 3], [picture(1), picture(2)])])
def test_another_picture_or_label_under_the_same_name_is_an_error(
    tmp_path: Path, labels: list[int], images: list[bytes]
) -> None:
    path = write_parquet(tmp_path / "x.parquet", labels, images, name=["a", "a"])
    with pytest.raises(DataError, match="'a' stands there twice, with another picture or another label"):
        read(path)


@pytest.mark.parametrize(
    ("labels", "columns", "message"),
    [
        ([7], {}, "label 7 of 'face-0' is not in 0..6"),
        ([-1], {}, "label -1 of 'face-0'"),
        ([None], {}, "label None of 'face-0'"),
        ([3], {"label": ["happy"]}, "label 'happy' of 'face-0' is no whole number; labels are 0 angry, 1 disgust"),
        ([3], {"label": [3.0]}, "label 3.0 of 'face-0' is no whole number"),
        ([3], {"label": [True]}, "label True of 'face-0' is no whole number"),
        ([3], {"name": [17]}, "row 0 has the name 17, which is no text"),
        ([3], {"name": pa.array([None], pa.string())}, "row 0 has no name"),
        ([3], {"image": pa.array([None], pa.binary())}, "'face-0' has no picture"),
        ([3], {"image": [b""]}, "'face-0' is no picture that can be judged: it is empty"),
        ([3], {"image": ["photo.png"]}, "column image holds string, but pictures are the bytes of image files"),
        ([3], {"image": [b"no picture"]}, "'face-0' is no picture that can be judged"),
        ([3], {"image": [picture()[:60]]}, "'face-0' is no picture that can be judged"),
        ([3], {"image": None}, "has no column image"),
        ([], {}, "holds no picture that could be judged"),
        ([3], {"votes_happy": [-1]}, "votes_happy of 'face-0' is empty or below 0"),
        ([3], {"votes_happy": [1 << 40]}, "votes_happy holds numbers that are no counts"),
        ([3], {"votes_happy": pa.array([1 << 63], pa.uint64())}, "votes_happy holds numbers that are no counts"),
        ([3], {"votes_happy": [9.0]}, "votes_happy holds double, but votes are whole numbers"),
        ([3], {"votes_joyride": [1]}, "votes_joyride is no category of votes"),
        ([3], {"votes_happy": [1], "votes_happiness": [1]}, "counts the same as"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, labels: Any, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write_parquet(tmp_path / "x.parquet", labels, **columns))


def test_a_column_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [3])
    table = pq.read_table(path)
    pq.write_table(table.append_column("label", table["label"]), path)
    with pytest.raises(DataError, match="more than one column label"):
        read(path)


def test_what_is_no_file_is_left_out_and_any_name_can_be_told(tmp_path: Path) -> None:
    """A pipe would be waited for; names of files need not be text."""
    data = write_folder(tmp_path, happy={"a.png": picture()})
    os.mkfifo(data / "happy" / "pipe")
    (data / "happy" / "broken").symlink_to("nowhere")
    (data / os.fsdecode(b"\xff.txt")).write_text("x")
    pictures = read(data)
    assert pictures.names == ("happy/a.png",)
    assert set(pictures.left_out) == {
        "file \ufffd.txt, which is named for none of the seven expressions",
        "2 files that cannot be read as a picture (happy/broken, happy/pipe)",
    }


def test_votes_are_columns_or_a_file_of_their_own(tmp_path: Path) -> None:
    own = write_parquet(tmp_path / "own.parquet", [3, 4], votes_happy=[9, 0], votes_neutral=[1, 0], votes_NF=[0, 9])
    pictures = read(own)
    assert pictures.voted
    assert pictures.votes[0, VOTES.index("happiness")] == 9
    assert pictures.votes[1, VOTES.index("NF")] == 9
    counts = {vote: pa.array([10 * (vote == "fear")], pa.int8()) for vote in VOTES}
    write_parquet(tmp_path / "data/fer2013/x.parquet", [3, 4])
    write_parquet(tmp_path / "data/ferplus/votes.parquet", [0], name=["face-1"], image=None, label=None, **counts)
    pictures = read(tmp_path / "data")
    assert pictures.votes.sum(axis=1).tolist() == [0, 10]


def test_a_limit_takes_pictures_from_everywhere_and_changes_the_digest(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [0] * 5 + [3] * 5)
    some = read(path, limit=4)
    assert some.names == ("face-0", "face-2", "face-5", "face-7")
    assert some.digest == read(path, limit=4).digest != read(path).digest
    assert len(read(path, limit=100)) == 10


@pytest.mark.parametrize("change", [{"labels": [3, 5]}, {"images": [picture(7), picture(8)]}, {"votes_fear": [0, 3]}])
def test_the_digest_covers_pictures_labels_and_votes(tmp_path: Path, change: dict[str, Any]) -> None:
    same = {"labels": [3, 4], "images": [picture(8), picture(9)], "votes_fear": [0, 2]}
    first = read(write_parquet(tmp_path / "a.parquet", **same))
    assert first.digest == read(write_parquet(tmp_path / "b.parquet", **same)).digest
    assert first.digest != read(write_parquet(tmp_path / "c.parquet", **(same | change))).digest


def test_a_folder_with_one_folder_for_each_expression(tmp_path: Path) -> None:
    data = write_folder(
        tmp_path,
        happiness={"b.png": picture(), "a.jpg": picture(kind="JPEG"), "more/c.webp": picture(kind="WEBP")},
        Anger={"a.png": picture()},
        **{"4 neutral": {"x.bmp": picture(kind="BMP")}},
    )
    pictures = read(data)
    assert sorted(zip(pictures.names, pictures.labels.tolist(), strict=True)) == [
        ("4 neutral/x.bmp", NEUTRAL),
        ("Anger/a.png", ANGRY),
        ("happiness/a.jpg", HAPPY),
        ("happiness/b.png", HAPPY),
        ("happiness/more/c.webp", HAPPY),
    ]


def test_what_else_lies_in_a_folder_is_left_out_and_named(tmp_path: Path) -> None:
    data = write_folder(
        tmp_path,
        happy={"a.png": picture(), "labels.csv": b"a,b", "broken.png": picture()[:60], ".DS_Store": b"x"},
        disgust={},
        contempt={"a.png": picture()},
    )
    (data / "readme.txt").write_text("pictures")
    pictures = read(data)
    assert pictures.names == ("happy/a.png",)
    assert set(pictures.left_out) == {
        "folder contempt, which is named for none of the seven expressions",
        "file readme.txt, which is named for none of the seven expressions",
        "folder disgust, which is empty",
        "2 files that cannot be read as a picture (happy/broken.png, happy/labels.csv)",
    }


def test_folders_below_the_name_of_the_split_are_found(tmp_path: Path) -> None:
    write_folder(tmp_path / "test", sad={"a.png": picture()})
    assert len(read(tmp_path, "test")) == 1
    with pytest.raises(DataError, match="or a folder with one folder for each expression"):
        read(tmp_path, "train")


def test_folders_without_pictures_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder of an expression in .* holds a picture"):
        read(write_folder(tmp_path / "empty", happy={}, sad={}))
    with pytest.raises(DataError, match=r"could be judged \(left out: 1 file that cannot be read as a picture"):
        read(write_folder(tmp_path / "text", happy={"a.txt": b"hello"}))


def test_colours_and_orientation_are_those_that_callers_get(tmp_path: Path) -> None:
    half = np.zeros((20, 40, 3), np.uint8)
    half[:, :20] = (255, 0, 0)
    (tmp_path / "happy").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    Image.fromarray(half).save(tmp_path / "happy" / "a.png", exif=exif)
    (crop,) = read(tmp_path).crops
    assert crop.shape == (40, 40, 3)
    assert crop[5, 20].tolist() == [255, 0, 0]
    assert crop[35, 20].tolist() == [0, 0, 0]
