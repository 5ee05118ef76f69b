"""Settings of the gateway: lists of names, as flags and in variables, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from serving.config_file import ConfigFileError
from serving.settings import load


@pytest.mark.parametrize("text", ["a.b,c.d", " a.b , c.d,", '["a.b", "c.d"]'])
@pytest.mark.parametrize("name", ["http_hosts", "labelling_clients"])
def test_names_are_taken_in_both_ways(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    assert getattr(load(GatewaySettings, [flag, text]), name) == {"a.b", "c.d"}
    monkeypatch.setenv(f"FERRY_{name.upper()}", text)
    assert getattr(load(GatewaySettings, []), name) == {"a.b", "c.d"}


@pytest.mark.parametrize("text", ['["a.b"', "[" * 100_000 + "]" * 100_000], ids=["cut off", "deeply nested"])
def test_what_is_none_is_said_with_the_setting(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FERRY_HTTP_HOSTS", text)
    with pytest.raises(SystemExit):
        load(GatewaySettings, [])
    assert "FERRY_HTTP_HOSTS): must be names with commas, or a list in JSON" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a:9090,b:99999", "a:0", "a", "http://a:9090", "::1:9090"])
def test_metrics_are_where_there_can_be_some(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(GatewaySettings, ["--metrics-endpoints", text])
    said = capsys.readouterr().err
    assert "--metrics-endpoints (or FERRY_METRICS_ENDPOINTS): must be host:port with a port from 1 to 65535" in said


def test_metrics_of_several_processes_are_named_with_commas() -> None:
    text = "a.b:9090,[::1]:65535"
    assert load(GatewaySettings, ["--metrics-endpoints", text]).metrics_endpoints == text


def test_jobs_need_a_key() -> None:
    with pytest.raises(ValueError, match="what lies there is encrypted"):
        GatewaySettings(jobs_redis_url="redis://localhost")


@pytest.mark.parametrize("name", ["routing_file", "drift_baseline", "jobs_key"])
def test_an_error_in_a_file_is_told_with_its_setting(name: str) -> None:
    files = {"routing_file": Path("routing.toml"), "drift_baseline": Path("drift.json"), "jobs_key": Path("key")}
    settings = GatewaySettings(**files, jobs_redis_url="redis://localhost")
    assert settings.of_file(ConfigFileError(f"{files[name]}: is broken")) == name
