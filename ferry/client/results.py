"""What Ferry answers, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


class _Plain:
    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything in it as dicts, tuples, strings and numbers, by the names of the fields; a copy."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def to_json(self, indent: int | None = None) -> str:
        """The same as JSON.

        Args:
            indent: columns a level; None: all in one line.
        """
        return json.dumps(self.to_dict(), indent=indent)


@dataclass(frozen=True, slots=True)
class Box(_Plain):
    """A rectangle in pixels of the upright image (EXIF orientation applied); origin top left."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def width(self) -> float:
        """Pixels."""
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        """Pixels."""
        return self.y_max - self.y_min

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return (self.x_min, self.y_min, self.x_max, self.y_max)


@dataclass(frozen=True, slots=True)
class Size(_Plain):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ModelVersion(_Plain):
    """A model version, exactly."""

    name: str
    version: str
    digest: str
    """SHA-256 of everything that decides the model's answer, 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class ModelOpinion(_Plain):
    """What one model says of one face."""

    model: ModelVersion
    expression: str
    confidence: float
    """Probability of `expression`, in [0, 1]."""
    probabilities: Mapping[str, float]
    """By expression; they sum to 1."""
    weight: float
    """Share of the vote; the shares of all opinions on a face sum to 1."""


@dataclass(frozen=True, slots=True)
class Face(_Plain):
    """One face and its expression."""

    box: Box
    score: float
    """How sure the detector is that this is a face, in [0, 1]."""
    expression: str
    """angry, disgust, fear, happy, neutral, sad or surprised, by the vote of the models."""
    confidence: float
    """Probability of `expression`, in [0, 1]."""
    probabilities: Mapping[str, float]
    """By expression; they sum to 1."""
    models: tuple[ModelOpinion, ...]
    """What each model said."""
    degraded: bool
    """True when a model did not answer for this face; the others' weights were renormalised."""
    missing_models: tuple[str, ...]
    """Names of the models that did not answer."""


@dataclass(frozen=True, slots=True)
class Timings(_Plain):
    """Where the time went, in milliseconds. Stages overlap, so they need not add up."""

    total_ms: float
    ensembler_ms: float
    detector_ms: float
    classifiers_ms: float
    decode_ms: float
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True)
class Recognition(_Plain):
    """The faces of one image."""

    faces: tuple[Face, ...]
    """By descending detection score; empty when there is no face."""
    image_size: Size
    """Of the upright image."""
    models: tuple[ModelVersion, ...]
    """Every model that took part."""
    timings: Timings
    cached: bool
    """True when the answer came from the result cache."""
    degraded: bool
    """True when a model did not answer for some face."""
    variant: str
    """The variant that answered, such as `stable`."""
    fingerprint: str
    """SHA-256 of the pipeline that made the answer."""
    request_id: str
    """Names this answer in logs and feedback."""


@dataclass(frozen=True, slots=True)
class Label(_Plain):
    """What the expression of one face of an earlier answer truly was."""

    request_id: str
    """Of the answer."""
    face: int
    """Position of the face in the answer, from 0."""
    expression: str
    """angry, disgust, fear, happy, neutral, sad or surprised."""


@dataclass(frozen=True, slots=True)
class Job(_Plain):
    """An image that is recognised later."""

    job_id: str
    """Names it, 32 hexadecimal digits; the request_id of its answer, too."""
    state: str
    """queued, running, succeeded, failed or cancelled."""
    result: Recognition | None
    """The answer, where it succeeded."""
    error: str
    """Why there is none, where it failed; else empty."""
    code: str
    """Name of the gRPC status of `error`; else empty."""
    expire_time: float
    """When it is forgotten at the latest, Unix time in seconds."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state not in {"queued", "running"}


@dataclass(frozen=True, slots=True)
class LoadFailure(_Plain):
    """A version that a service should serve and cannot load; the one that it has goes on."""

    version: str
    attempts: int
    """In a row."""
    retry_time: float
    """When it is tried again at the latest, Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class PipelineModel(_Plain):
    """A model in the recipe of a variant."""

    name: str
    version: str
    """Empty while the model has not been reached."""
    digest: str
    weight: float
    available: bool
    load_failure: LoadFailure | None
    """A version that should be served in place of this one."""


@dataclass(frozen=True, slots=True)
class VariantStatus(_Plain):
    """One variant of the pipeline."""

    name: str
    traffic_share: float
    healthy: bool
    fingerprint: str
    models: tuple[PipelineModel, ...]

    @property
    def reason(self) -> str:
        """Why it is not healthy, in words; empty where it is."""
        if self.healthy:
            return ""
        if not self.models:
            return "its ensembler does not answer, or has not been asked yet"
        away = [model.name for model in self.models if not model.available]
        return f"no answer from {', '.join(away)}" if away else "its ensembler does not answer any more"


@dataclass(frozen=True, slots=True)
class CacheStatus(_Plain):
    """The result cache."""

    enabled: bool
    redis_available: bool
    memory_entries: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ClusterStatus(_Plain):
    """What serves at present."""

    ferry_version: str
    uptime: float
    """Seconds this gateway has been up."""
    variants: tuple[VariantStatus, ...]
    cache: CacheStatus
