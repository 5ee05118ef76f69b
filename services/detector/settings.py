"""Settings of the detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from serving.images.header import MAX_IMAGE_BYTES, MAX_MEGAPIXELS
from serving.repository.policy import parse_policies
from serving.settings import ModelServiceSettings, Port


class DetectorSettings(ModelServiceSettings):
    """Finds faces. Every flag can also be set as FERRY_<NAME>."""

    port: Port = Field(default=50053, description="gRPC port")
    model: str = Field(default="detector", description="name, name:version or name:version+version of the model served")
    max_batch: int = Field(default=4, ge=1, le=64, description="images of one model run")
    max_image_bytes: int = Field(default=MAX_IMAGE_BYTES, ge=1, le=60 << 20, description="largest encoded image")
    max_megapixels: Annotated[float, Field(gt=0, le=500)] = Field(
        default=MAX_MEGAPIXELS, description="largest decoded image, width * height / 10^6"
    )
    pixel_budget: Annotated[float, Field(gt=0, le=10_000)] = Field(
        default=64.0, description="megapixels held decoded at once, over all requests"
    )

    @field_validator("model")
    @classmethod
    def _is_a_policy(cls, value: str) -> str:
        parse_policies(value)
        return value
