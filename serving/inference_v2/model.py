"""What a service offers by the protocol: descriptions of its models, and answers of theirs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from serving.errors import NotFoundError
from serving.inference_v2.tensor import Tensor, TensorSpec

Parameter: TypeAlias = bool | int | float | str
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What a model takes and answers.

    Attributes:
        name: of the model.
        version: that answers where none is asked for, or the one asked for.
        versions: all that answer at present.
        inputs: every one has to be given.
        outputs: every one is answered, unless some are asked for.
        parameters: options by name, and the type of each.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, type[Parameter]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A question, checked against the description of its model.

    Attributes:
        name: of the model.
        version: as asked for; empty: whichever is served.
        inputs: by name, each of its type and with as many values as its shape says.
        outputs: names of those asked for.
        parameters: options that were given.
        metadata: of the call.
    """

    name: str
    version: str
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    metadata: Metadata = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """An answer.

    Attributes:
        name, version: of the model that answered.
        outputs: at least those asked for, in any order.
        parameters: what else it says.
    """

    name: str
    version: str
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Indexed:
    """A version in the repository.

    Attributes:
        name, version: of it.
        ready: whether it answers at present.
        reason: why it does not, where that is known.
    """

    name: str
    version: str
    ready: bool
    reason: str = ""


class Models(ABC):
    """Those of one service."""

    @abstractmethod
    def describe(self, name: str, version: str = "") -> Description:
        """
        Args:
            name: of the model.
            version: empty: the one that is served.

        Raises:
            NotFoundError: it is not served here.
        """

    @abstractmethod
    async def index(self) -> list[Indexed]:
        """Every version, by name and then version."""

    @abstractmethod
    async def infer(self, query: Query) -> Reply:
        """
        Raises:
            ServiceError: there is no answer.
        """

    def answers(self, name: str, version: str = "") -> bool:
        """Whether a model is served here."""
        try:
            self.describe(name, version)
        except NotFoundError:
            return False
        return True
