"""Settings of the detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from serving.images.cost import PHOTO_BYTES
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
    decode_budget: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = Field(
        default=512 << 20,
        validate_default=True,
        description="bytes that decoding may take at once, over all requests; what a picture takes: docs/decoding.md",
    )
    max_waiting_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = Field(
        default=128 << 20, description="encoded bytes of images that wait to be decoded"
    )
    heif: bool = Field(
        default=False, description="also decode HEIC and AVIF, each in a process of its own (docs/pictures.md)"
    )
    coarse_first: str = Field(
        default="auto",
        pattern="^(auto|on|off)$",
        description="look at a smaller copy of a picture first, where a model's coarse.json says when that is enough; "
        "auto: with optimized; never on a GPU",
    )
    pixel_budget: str | None = Field(default=None, description="gone: see decode_budget")

    @property
    def looks_coarsely(self) -> bool:
        """Whether a smaller copy may be enough."""
        return self.coarse_first == "on" or (self.coarse_first == "auto" and self.optimized)

    @field_validator("decode_budget")
    @classmethod
    def _holds_the_largest_photo(cls, budget: int, info: ValidationInfo) -> int:
        needed = int(info.data.get("max_megapixels", 0) * 1e6 * PHOTO_BYTES)
        if budget < needed:
            raise ValueError(
                f"is less than the {needed} bytes that a photo of max_megapixels takes ({PHOTO_BYTES} a pixel); "
                "give it more, or lower max_megapixels"
            )
        return budget

    @field_validator("pixel_budget")
    @classmethod
    def _is_gone(cls, value: str | None) -> None:
        if value is not None:
            raise ValueError(
                "there is no such limit any more; set decode_budget (FERRY_DECODE_BUDGET) to the bytes that decoding "
                "may take, such as 12 for each pixel of the largest picture (docs/decoding.md)"
            )

    @field_validator("model")
    @classmethod
    def _is_a_policy(cls, value: str) -> str:
        parse_policies(value)
        return value
