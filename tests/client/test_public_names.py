"""The client's public names: others build on them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields, is_dataclass

import ferry.client
from ferry.client import AsyncClient, Client


def test_names() -> None:
    assert sorted(ferry.client.__all__) == [
        "AsyncClient",
        "Box",
        "CacheStatus",
        "Client",
        "ClusterStatus",
        "DeadlineError",
        "Face",
        "FerryError",
        "Image",
        "InvalidImageError",
        "InvalidRequestError",
        "Job",
        "Label",
        "LoadFailure",
        "MismatchError",
        "ModelOpinion",
        "ModelVersion",
        "Options",
        "OverloadedError",
        "PipelineModel",
        "Recognition",
        "Size",
        "Timings",
        "Tls",
        "TlsError",
        "UnavailableError",
        "VariantStatus",
    ]
    assert all(hasattr(ferry.client, name) for name in ferry.client.__all__)


def test_fields_of_an_answer() -> None:
    def names(kind: type) -> list[str]:
        assert is_dataclass(kind)
        return [field.name for field in fields(kind)]

    assert names(ferry.client.Recognition) == [
        "faces",
        "image_size",
        "models",
        "timings",
        "cached",
        "degraded",
        "variant",
        "fingerprint",
        "request_id",
    ]
    assert names(ferry.client.Face) == [
        "box",
        "score",
        "expression",
        "confidence",
        "probabilities",
        "models",
        "degraded",
        "missing_models",
    ]
    assert names(ferry.client.ModelOpinion) == ["model", "expression", "confidence", "probabilities", "weight"]


def test_both_clients_offer_the_same() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)
    assert inspect.signature(Client.__init__) == inspect.signature(AsyncClient.__init__)


def test_the_client_needs_only_grpc() -> None:
    code = (
        "import sys, ferry.client; heavy = {'numpy', 'PIL', 'serving', 'opentelemetry', 'pydantic'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
