"""`ferry status`: what serves, and of a variant that is not healthy, why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ferry.v1 import ensembler_pb2, gateway_pb2, types_pb2
from tests.client.conftest import FakeGateway, serving


class Telling(FakeGateway):
    """Says that there is one variant."""

    variant = gateway_pb2.VariantStatus()

    def GetStatus(self, request: Any, context: Any) -> gateway_pb2.GetStatusResponse:  # noqa: N802
        return gateway_pb2.GetStatusResponse(ferry_version="0.1.0", variants=[self.variant])


@pytest.fixture
def gateway() -> Telling:
    return Telling()


@pytest.fixture
def address(gateway: Telling) -> Iterator[str]:
    with serving(gateway) as where:
        yield where


def entry(name: str, *, available: bool, **more: Any) -> ensembler_pb2.RecipeEntry:
    model = types_pb2.ModelVersion(name=name, version="3", digest="ab" * 32)
    return ensembler_pb2.RecipeEntry(model=model, weight=0.5, available=available, **more)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ((), "its ensembler does not answer, or has not been asked yet"),
        (({"detector": True, "arcface": False}), "no answer from arcface"),
        (({"detector": False, "arcface": False}), "no answer from detector, arcface"),
        (({"detector": True, "arcface": True}), "its ensembler does not answer any more"),
    ],
)
def test_a_variant_that_is_not_healthy_says_why(
    gateway: Telling, address: str, entries: dict[str, bool], reason: str
) -> None:
    models = [entry(name, available=available) for name, available in dict(entries).items()]
    gateway.variant = gateway_pb2.VariantStatus(name="canary", traffic_share=0.1, entries=models)
    told = CliRunner().invoke(app, ["status", "--address", address])
    assert told.exit_code == 1
    assert f"variant canary: NOT healthy, 10.0% of the traffic; {reason}\n" in told.output
    for model in models:
        (line,) = (line for line in told.output.splitlines() if f" {model.model.name} " in line)
        assert ("available" if model.available else "does not answer") in line
    told = CliRunner().invoke(app, ["status", "--json", "--address", address])
    assert told.exit_code == 1
    assert json.loads(told.output)["variants"][0]["reason"] == reason


def test_one_that_is_healthy_has_no_reason(gateway: Telling, address: str) -> None:
    models = [entry("detector", available=True)]
    gateway.variant = gateway_pb2.VariantStatus(name="stable", traffic_share=1, entries=models, healthy=True)
    told = CliRunner().invoke(app, ["status", "--address", address])
    assert told.exit_code == 0
    assert "variant stable: healthy, 100.0% of the traffic\n" in told.output
    told = CliRunner().invoke(app, ["status", "--json", "--address", address])
    assert json.loads(told.output)["variants"][0]["reason"] == ""


def test_a_version_that_cannot_be_loaded_is_named(
    gateway: Telling, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = types_pb2.LoadFailure(version="4", attempts=3)
    failure.retry_time.FromSeconds(int(time.time()) + 600)
    models = [entry("arcface", available=True, load_failure=failure)]
    gateway.variant = gateway_pb2.VariantStatus(name="stable", traffic_share=1, entries=models, healthy=True)
    monkeypatch.setenv("COLUMNS", "200")
    told = CliRunner().invoke(app, ["status", "--address", address])
    assert "available; version 4 cannot be loaded (tried 3 x, again in" in told.output
