"""Settings of the ensembler."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.ensembler.recipe import DEFAULT_RECIPE
from serving.settings import DEFAULT_PATIENCE, Patience, Port, Seconds, ServiceSettings


class EnsemblerSettings(ServiceSettings):
    """Asks the models and takes the vote. Every flag can also be set as FERRY_<NAME>."""

    port: Port = Field(default=50052, description="gRPC port")
    recipe: Path = Field(default=DEFAULT_RECIPE, description="TOML or JSON file: models, addresses, weights, vote")
    probe_interval: Seconds = Field(default=2.0, description="seconds between looks for models that were not reached")
    stale_after: Seconds = Field(default=10.0, description="seconds after which a silent model's version is asked anew")
    patience: Patience = DEFAULT_PATIENCE
