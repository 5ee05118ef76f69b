"""The recipe: which models are asked, with which weights, and how long each may take.

Read from a TOML or JSON file. Unknown keys, weights that are not finite and names that appear twice are refused.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from serving.config_file import ConfigFileError, Weight, host_and_port, read_config
from serving.frozen import Frozen
from serving.repository.manifest import NAME_PATTERN

DEFAULT_RECIPE = Path(__file__).parent / "recipe.toml"


class RecipeError(Exception):
    """A recipe that cannot be used; the message names file and field."""


class Vote(StrEnum):
    """How opinions become one: `soft` is the weighted mean of probabilities, `hard` a weighted count of winners."""

    SOFT = "soft"
    HARD = "hard"


class ModelEntry(Frozen):
    """One model and the service that answers for it."""

    name: str = Field(pattern=NAME_PATTERN, description="in the model repository; unique in the recipe")
    version: str = Field(default="", pattern="^[0-9]{0,9}$", description="empty: the one its service holds current")
    address: Annotated[str, AfterValidator(host_and_port)] = Field(
        min_length=1,
        max_length=4096,
        description="host:port of the service (every replica behind the name), or several ip:port separated by commas",
    )
    timeout: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False, strict=True)] = Field(
        default=10.0, description="seconds to wait for it, within the caller's deadline"
    )


class ClassifierEntry(ModelEntry):
    """A classifier: as any model, its weight, and which faces it is asked about."""

    weight: Weight = Field(default=0.4, description="in the vote; weights need not sum to 1")
    ask_below: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)] | None = Field(
        default=None,
        description="asked only about faces that the models before it leave less confident than this; none: about all",
    )


class Recipe(Frozen):
    """What the ensembler does with an image."""

    detector: ModelEntry = Field(description="finds the faces and cuts their crops")
    detector_weight: Weight = Field(
        default=0.2, description="of the detector's own opinion on expression, for the faces it has one of"
    )
    classifiers: tuple[ClassifierEntry, ...] = Field(
        min_length=1, max_length=16, description="asked in parallel; answers list their predictions in this order"
    )
    vote: Vote = Field(default=Vote.SOFT, description="soft or hard, where a request does not say")
    crop_size: int = Field(default=64, ge=8, le=512, strict=True, description="side of the crops, pixels")
    crop_margin: Annotated[float, Field(ge=-0.4, le=1, allow_inf_nan=False, strict=True)] = Field(
        default=0.06, description="added on each side of the squared box, as a share of its side"
    )
    test_time_augmentation: bool = Field(
        default=False, strict=True, description="average each classifier over five views, for every request"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [self.detector.name, *(entry.name for entry in self.classifiers)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"name: two models have the same name, {twice[0]}")
        if self.classifiers[0].ask_below is not None:
            raise ValueError(f"ask_below: nobody judges before {self.classifiers[0].name}; give it to a later one")
        if sum(self.weights) <= 0:
            raise ValueError("weight: all weights are 0; give at least one model a weight above 0")
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the classifiers in their order, then of the detector."""
        return (*(entry.weight for entry in self.classifiers), self.detector_weight)


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe: TOML, or JSON where the file's name ends in .json.

    Raises:
        RecipeError: it cannot be read or does not fit; the message names the file and every field that is wrong.
    """
    try:
        return read_config(path, Recipe)
    except ConfigFileError as error:
        raise RecipeError(str(error)) from error
