"""Models of a host by the protocol: what is common to all services that run models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from ferry.v1 import types_pb2
from serving.inference_v2.model import Description, Indexed, Models, Parameter
from serving.inference_v2.tensor import TensorSpec
from serving.models.host import ModelHost
from serving.repository.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and answers, as Description says it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, type[Parameter]]


class HostedModels(Models):
    """Every version that a host has loaded."""

    def __init__(self, host: ModelHost) -> None:
        """
        Args:
            host: of the models.
        """
        self._host = host

    @abstractmethod
    def signature(self, manifest: Manifest) -> Signature:
        """Of a model."""

    def describe(self, name: str, version: str = "") -> Description:
        manifest = self._host.describe(name, version).manifest
        versions = [model.manifest.version for model in self._host.models() if model.manifest.name == name]
        signature = self.signature(manifest)
        return Description(
            manifest.name,
            manifest.version,
            tuple(sorted(versions, key=int)),
            signature.inputs,
            signature.outputs,
            signature.parameters,
        )

    async def index(self) -> list[Indexed]:
        versions = await self._host.versions()
        ready = {(model.manifest.name, model.manifest.version) for model in self._host.models()}
        return [
            Indexed(*found, ready=True) if found in ready else Indexed(*found, ready=False, reason=self._why(*found))
            for found in versions
        ]

    def _why(self, name: str, version: str) -> str:
        failure = self._host.load_failure(name)
        if failure is not None and failure.version == version:
            return f"could not be loaded, {failure.attempts} time(s) in a row"
        return "not the version that is served"


def about(model: types_pb2.ModelVersion, queue_seconds: float, compute_seconds: float) -> dict[str, Parameter]:
    """What an answer says of itself: the digest of what made it, and the time it took."""
    return {"digest": model.digest, "queue_ms": queue_seconds * 1000, "compute_ms": compute_seconds * 1000}
