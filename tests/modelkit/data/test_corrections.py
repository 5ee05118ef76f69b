"""The list of labels that are wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelkit.data.corrections import CORRECTIONS, corrected, read_corrections
from modelkit.data.expressions import DataError
from modelkit.data.photos import Photo

pytestmark = pytest.mark.toolchain

LABELS = [[0, 0, 10, 10], [20.4, 20, 40, 44], [50, 50, 60, 60]]


def photo(name: str) -> Photo:
    return Photo(name, b"", np.array(LABELS, np.float32), np.array([True, False, True]))


@pytest.fixture
def listed(tmp_path: Path) -> Any:
    def write(corrections: Any) -> Path:
        file = tmp_path / "corrections.json"
        file.write_text(corrections if isinstance(corrections, str) else json.dumps(corrections))
        return file

    return write


def test_named_photos_gain_boxes_and_others_stay_as_they_are(listed) -> None:
    file = listed({"a": {"faces": [[1, 2, 3, 4]], "unclear": [[5, 6, 7, 8], [9, 9, 12, 12]]}})
    first, second = corrected([photo("a"), photo("b")], file)
    np.testing.assert_allclose(first.boxes, [*LABELS, [1, 2, 3, 4]])
    assert first.unmasked.tolist() == [True, False, True, False]
    assert first.unclear.shape == (2, 4)
    np.testing.assert_allclose(second.boxes, LABELS)
    assert second.unclear.shape == (0, 4)


def test_a_box_takes_the_place_of_a_label_and_another_label_goes(listed) -> None:
    told = {"a": {"replaced": [{"label": [20, 20, 40, 44], "face": [22, 18, 38, 40]}], "removed": [[0, 0, 10, 10]]}}
    (found,) = corrected([photo("a")], listed(told))
    np.testing.assert_allclose(found.boxes, [[22, 18, 38, 40], LABELS[2]])
    assert found.unmasked.tolist() == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"removed": [[0, 0, 10, 13]]},
        {"removed": [[0, 0, 10, 10], [0, 0, 10, 10]]},
        {"replaced": [{"label": [0, 0, 10, 10], "face": [0, 0, 9, 9]}], "removed": [[0, 0, 10, 10]]},
    ],
)
def test_a_label_that_is_not_there_or_not_any_more_is_an_error(listed, wrong: Any) -> None:
    with pytest.raises(DataError, match=r"photo 'a' has no label \[0, 0, 10, 1"):
        corrected([photo("a")], listed({"a": wrong}))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("{", "not a readable JSON"),
        ("[" * 5000, "not a readable JSON"),
        ([], "must map names"),
        ({"a": []}, "a must hold nothing but faces"),
        ({"a": {"added": []}}, "a must hold nothing but faces"),
        ({"a": {"faces": {}}}, "a: faces must be a list"),
        ({"a": {"faces": [[1, 2, 3]]}}, "faces holds .* no box"),
        ({"a": {"unclear": [[3, 2, 3, 4]]}}, "unclear holds .* no box"),
        ({"a": {"removed": [[1, 2, 3, "4"]]}}, "removed holds .* no box"),
        ({"a": {"removed": [[-1, 2, 3, 4]]}}, "removed holds .* no box"),
        ('{"a": {"faces": [[1, 2, 3, NaN]]}}', "faces holds .* no box"),
        ({"a": {"replaced": [[1, 2, 3, 4]]}}, "must hold a label and a face"),
        ({"a": {"replaced": [{"label": [1, 2, 3, 4], "face": [1, 2, 1, 4]}]}}, "replaced holds .* no box"),
    ],
)
def test_a_list_that_is_wrong_is_refused_by_name(listed, wrong: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_corrections(listed(wrong))


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a readable JSON"):
        read_corrections(tmp_path / "none.json")


def test_the_list_corrects_more_than_a_hundred_photos_faces() -> None:
    known = read_corrections(CORRECTIONS)
    assert (
        sum(len(each.faces) + len(each.unclear) + len(each.replaced) + len(each.removed) for each in known.values())
        > 150
    )
