"""Settings of the classifier."""

from __future__ import annotations

from pydantic import Field, field_validator

from serving.repository.policy import parse_policies
from serving.settings import ModelServiceSettings, Port


class ClassifierSettings(ModelServiceSettings):
    """Judges face crops. Every flag can also be set as FERRY_<NAME>."""

    port: Port = Field(default=50054, description="gRPC port")
    models: str = Field(
        default="efficientnet",
        description="models served, the first being the default: name[:version[+version...]][,...]",
    )
    max_batch: int = Field(
        default=16, ge=1, le=1024, description="crops of one model run; 8 at most on CPUs, where more do not pay"
    )

    @field_validator("models")
    @classmethod
    def _is_a_policy(cls, value: str) -> str:
        parse_policies(value)
        return value

    crop_budget: int = Field(
        default=256, ge=1, le=65536, description="megabytes of crops and their views held at once, over all requests"
    )
