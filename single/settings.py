"""Settings of the whole cluster in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gateway.settings import GatewaySettings
from services.ensembler.recipe import DEFAULT_RECIPE
from serving.config_file import host_and_port
from serving.settings import Cpus

_OF_MODELS = ("models_dir", "backend", "device", "engine_cache", "optimized", "threads", "runs", "max_batch")


class SingleSettings(GatewaySettings):
    """Gateway, ensembler and models in one process. Every flag can also be set as FERRY_<NAME>, and so can those of the
    services that have none here."""

    ensembler_address: Annotated[str, AfterValidator(host_and_port)] = Field(
        default="local:ensembler",
        min_length=1,
        max_length=4096,
        description="the ensembler of this process, or another",
    )
    recipe: Path = Field(
        default=DEFAULT_RECIPE, description="TOML or JSON file: models, weights, vote; no addresses count"
    )
    models_dir: Path = Field(default=Path("models"), description="the model repository")
    backend: str | None = Field(default=None, description="as for the detector and the classifier")
    device: str | None = Field(default=None, description="as for the detector and the classifier")
    engine_cache: Path | None = Field(default=None, description="as for the detector and the classifier")
    optimized: bool = Field(
        default=False, description="allow less than float32 where tuning found it faster, and first looks"
    )
    cpus: Cpus = 0
    threads: int | None = Field(default=None, description="threads of one model run; 0: as measured")
    runs: int | None = Field(default=None, description="runs of one model at once; 0: as measured")
    max_batch: int | None = Field(default=None, description="rows of one model run")

    def of_models(self) -> dict[str, Any]:
        """What was said of models, for the settings of those services."""
        return {name: value for name in _OF_MODELS if (value := getattr(self, name)) is not None}
