"""The recipe: which models are asked, with which weights, and how long each may take.

Read from a TOML or JSON file. Unknown keys, weights that are not finite and names that appear twice are refused.
"""

from __future__ import annotations

import json
import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ferry.transport import target
from serving.repository.manifest import NAME_PATTERN

MAX_RECIPE_BYTES = 64 << 10
DEFAULT_RECIPE = Path(__file__).parent / "recipe.toml"

Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]
_WITH_PORT = re.compile(r":[0-9]{1,5}$")


class RecipeError(Exception):
    """A recipe that cannot be used; the message names file and field."""


class Vote(StrEnum):
    """How opinions become one: `soft` is the weighted mean of probabilities, `hard` a weighted count of winners."""

    SOFT = "soft"
    HARD = "hard"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelEntry(_Frozen):
    """One model and the service that answers for it."""

    name: str = Field(pattern=NAME_PATTERN, description="in the model repository; unique in the recipe")
    version: str = Field(default="", pattern="^[0-9]{0,9}$", description="empty: the one its service holds current")
    address: str = Field(
        min_length=1,
        max_length=4096,
        description="host:port of the service (every replica behind the name), or several ip:port separated by commas",
    )
    timeout: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False, strict=True)] = Field(
        default=10.0, description="seconds to wait for it, within the caller's deadline"
    )

    @field_validator("address")
    @classmethod
    def _can_be_dialled(cls, value: str) -> str:
        if target(value) == f"dns:///{value}" and not _WITH_PORT.search(value):
            raise ValueError(f"must be host:port, not {value!r}")
        return value


class ClassifierEntry(ModelEntry):
    """A classifier: as any model, and its weight."""

    weight: Weight = Field(default=0.4, description="in the vote; weights need not sum to 1")


class Recipe(_Frozen):
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
        return Recipe.model_validate(_parse(path))
    except ValidationError as error:
        problems = "; ".join(_describe(e["loc"], e["msg"]) for e in error.errors(include_url=False))
        raise RecipeError(f"{path}: {problems}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: {error}") from error


def _parse(path: Path) -> Any:
    parsers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in parsers:
        raise RecipeError(f"{path}: its name must end in .toml or .json")
    # By what is read and not by what the file system says: a pipe or a device has no size.
    with path.open("rb") as file:
        data = file.read(MAX_RECIPE_BYTES + 1)
    if len(data) > MAX_RECIPE_BYTES:
        raise RecipeError(f"{path}: is larger than {MAX_RECIPE_BYTES} bytes")
    return parsers[path.suffix](data.decode("utf-8"))


def _describe(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    field = ".".join(str(part) for part in location)
    return f"{field}: {message}" if field else message
