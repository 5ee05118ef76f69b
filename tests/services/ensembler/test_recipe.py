"""Recipes that fit, and what is said of those that do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.ensembler.recipe import DEFAULT_RECIPE, RecipeError, read_recipe
from serving.repository.repository import ModelRepository
from tests.processes import outcome

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"

GOOD = """
detector = {name = "detector", address = "localhost:1"}
classifiers = [{name = "a", address = "localhost:2"}, {name = "b", address = "localhost:3", weight = 1.5}]
"""


def test_default_recipe_is_what_the_documents_say() -> None:
    recipe = read_recipe(DEFAULT_RECIPE)
    assert [entry.name for entry in recipe.classifiers] == ["efficientnet", "arcface"]
    assert recipe.weights == (0.3, 0.7, 0)
    assert recipe.vote == "soft"


@pytest.mark.parametrize("folder", ["base", "components/canary/track"])
def test_a_cluster_votes_as_this_machine_does(folder: str) -> None:
    here, there = read_recipe(DEFAULT_RECIPE), read_recipe(ROOT / "deploy/k8s" / folder / "recipe.toml")
    assert there.weights == here.weights
    assert (there.vote, there.crop_size, there.crop_margin) == (here.vote, here.crop_size, here.crop_margin)


def test_weights_are_usual_where_a_recipe_names_none(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(GOOD.replace(", weight = 1.5", ""))
    assert read_recipe(file).weights == (0.4, 0.4, 0.2)


LEARNT_SIDE = 48  # pixels of FER2013's faces, which training enlarges to each model's input


def test_default_recipe_cuts_faces_as_its_models_were_trained() -> None:
    recipe, repository = read_recipe(DEFAULT_RECIPE), ModelRepository(MODELS)
    inputs = [repository.open(entry.name, "stable").manifest.input for entry in recipe.classifiers]
    assert {spec.crop_margin for spec in inputs} == {recipe.crop_margin}
    assert recipe.crop_size >= LEARNT_SIDE, "a crop must hold what the models learnt from"


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "recipe.toml", tmp_path / "recipe.json"
    toml.write_text(GOOD)
    recipe = read_recipe(toml)
    as_json.write_text(json.dumps(recipe.model_dump(mode="json")))
    assert read_recipe(as_json) == recipe
    assert recipe.weights == (0.4, 1.5, 0.2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(GOOD + "detector_weight = nan", "detector_weight", id="NaN weight"),
        pytest.param(GOOD + "detector_weight = inf", "detector_weight", id="infinite weight"),
        pytest.param(GOOD.replace("1.5", "-1"), "classifiers.1.weight", id="negative weight"),
        pytest.param(GOOD.replace("1.5", '"much"'), "classifiers.1.weight", id="weight in words"),
        pytest.param(GOOD.replace('"b"', '"a"'), "same name", id="name twice"),
        pytest.param(GOOD.replace('"a"', '"detector"'), "same name", id="name of the detector"),
        pytest.param(GOOD.replace('"a"', '"../a"'), "classifiers.0.name", id="name with a path"),
        pytest.param(GOOD.replace("1.5", "0").replace('"localhost:2"', '"localhost:2", weight = 0')
                     + "detector_weight = 0", "all weights are 0", id="no weight"),
        pytest.param(GOOD + "colour = 1", "colour", id="unknown key"),
        pytest.param(GOOD + 'vote = "loud"', "vote", id="unknown vote"),
        pytest.param(GOOD + "crop_size = 4096", "crop_size", id="huge crops"),
        pytest.param(GOOD + "crop_margin = nan", "crop_margin", id="NaN margin"),
        pytest.param(GOOD.replace('name = "a", ', ""), "classifiers.0.name", id="nameless model"),
        pytest.param(GOOD.replace("1.5", "true"), "classifiers.1.weight", id="weight that is true"),
        pytest.param(GOOD.replace("localhost:2", "localhost"), "0.address: must be host:port", id="no port"),
        pytest.param(GOOD.replace('"localhost:2"', '"a:1,b:1"'), "classifiers.0.address", id="names in a list"),
        pytest.param(GOOD.replace('"localhost:2"', '"a:2", timeout = 0'), "classifiers.0.timeout", id="no time"),
        pytest.param(GOOD.replace('"localhost:2"', '"localhost:2", version = "latest"'), "classifiers.0.version",
                     id="version in words"),
        pytest.param(GOOD.replace('"localhost:2"', '"localhost:2", colour = 1'), "classifiers.0.colour",
                     id="unknown key of a model"),
        pytest.param(GOOD + 'test_time_augmentation = "yes"', "test_time_augmentation", id="augmentation in words"),
        pytest.param("classifiers = []", "detector", id="no detector"),
        pytest.param(GOOD.splitlines()[1] + "\nclassifiers = []", "classifiers", id="no classifier"),
        pytest.param(
            GOOD.splitlines()[1]
            + "\nclassifiers = ["
            + ",".join(f'{{name = "m{i}", address = "localhost:1"}}' for i in range(17))
            + "]",
            "classifiers",
            id="17 classifiers",
        ),
        pytest.param("detector = ", "recipe.toml", id="broken TOML"),
        pytest.param("#" * 70_000, "larger than", id="huge file"),
    ],
)  # fmt: skip
def test_bad_recipe_is_refused_by_file_and_field(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")


def test_deep_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text("[" * 20_000)
    with pytest.raises(RecipeError):
        read_recipe(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param("recipe.yaml", b"vote: soft", "must end in .toml or .json", id="another format"),
        pytest.param("recipe.toml", b"vote = '\xff'", "utf-8", id="not UTF-8"),
        pytest.param("recipe.json", b"{", "line 1", id="broken JSON"),
        pytest.param("recipe.json", b"9" * 60_000, "digits", id="JSON number of many digits"),
        pytest.param("recipe.json", b"[1]", "must be an object", id="JSON list"),
        pytest.param("recipe.json", b'{"detector_weight": NaN}', "detector_weight", id="JSON NaN"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.symlink_to("/dev/zero")
    with pytest.raises(RecipeError, match="larger than"):
        read_recipe(path)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.mkdir()
    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        read_recipe(path)


@pytest.mark.e2e
def test_a_bad_recipe_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD.replace("1.5", "nan"))
    code, errors = outcome(["-m", "services.ensembler", "--port", "0", "--recipe", str(path)])
    assert code == 2
    assert f"--recipe (or FERRY_RECIPE): {path}: classifiers.1.weight: must be a finite number" in errors
    assert "Traceback" not in errors
