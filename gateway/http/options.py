"""How to look at an image, as HTTP says it: the query, fields of a form, or members of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ferry.v1 import ensembler_pb2, types_pb2
from gateway.admission.checks import MAX_FACE_SIZE
from gateway.http.problems import BodyError
from serving.faces import MAX_DETAIL, MAX_FACES
from serving.faults import words

_VOTES = {"soft": types_pb2.VOTE_SOFT, "hard": types_pb2.VOTE_HARD}


class Options(BaseModel):
    """Every one may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_faces: Annotated[int, Field(ge=0, le=MAX_FACES)] = Field(
        default=0, description="Most faces to return, by descending detection score; 0: 64."
    )
    min_detection_score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.0, description="Least detection score; 0: the detector's own threshold."
    )
    min_face_size: Annotated[float, Field(ge=0, le=MAX_FACE_SIZE, allow_inf_nan=False)] = Field(
        default=0.0, description="Least longer side of a face's box in pixels."
    )
    detail: Annotated[int, Field(ge=0, le=MAX_DETAIL)] = Field(
        default=0, description="Look for faces so many times smaller; each step costs more runs of the detector."
    )
    test_time_augmentation: bool = Field(default=False, description="Average over several views of each face.")
    vote: Literal["soft", "hard"] | None = Field(
        default=None, description="How opinions become one: weighted mean or weighted count; by default the recipe's."
    )
    bypass_cache: bool = Field(default=False, description="Neither read the result cache nor write to it.")

    def merged(self, values: dict[str, Any]) -> Options:
        """These, and `values` where they say more.

        Raises:
            BodyError: one of `values` is no option, or not valid; its field says which.
        """
        try:
            more = Options.model_validate(values)
        except ValidationError as error:
            raise body_error(error) from error
        return self.model_copy(update=more.model_dump(exclude_unset=True))

    def to_proto(self) -> ensembler_pb2.RecognizeOptions:
        """The message, without what belongs to the request."""
        message = ensembler_pb2.RecognizeOptions()
        for name, value in self.model_dump(
            exclude={"bypass_cache", "timeout", "time_to_live"}, exclude_defaults=True
        ).items():
            setattr(message, name, _VOTES[value] if name == "vote" else value)
        return message


class QueryOptions(Options):
    """Options in the query, and how long the caller waits, which has to be known before the body is there."""

    timeout: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds until the answer must be there; the gateway has its own limit besides."
    )


class JobOptions(QueryOptions):
    """And how long a job's result is kept."""

    time_to_live: Annotated[float, Field(ge=1, le=86400, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds that the result is kept; by default 3600."
    )


def body_error(error: ValidationError) -> BodyError:
    """The first thing that is wrong in a body, in words that do not quote it."""
    where, said = first_fault(error.errors(include_url=False, include_input=False))
    return BodyError(400, said, where or "body")


def first_fault(faults: Sequence[Any]) -> tuple[str, str]:
    """The field and what is wrong with it.

    Args:
        faults: as pydantic lists them.
    """
    first = faults[0]
    return ".".join(str(part) for part in first["loc"]), words(first)
