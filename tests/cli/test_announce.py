"""What `ferry serve` says once its cluster runs: of `stable`, of variants that do not answer, and where Redis is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from cli.announce import announce
from cli.cluster import Cluster, Endpoint
from cli.cluster.guard import Guard
from ferry.client import ClusterStatus
from ferry.client.results import CacheStatus, PipelineModel, VariantStatus

REDIS = "unix:///tmp/ferry-abcdefgh/a-folder-whose-name-is-long/valkey.sock"
ROUTING = """
[[variants]]
name = "stable"
address = "127.0.0.1:50052"
weight = 0.5

[[variants]]
name = "canary"
address = "127.0.0.1:50062"
weight = 0.5
"""


@dataclass
class Running:
    """A cluster as far as it is told of; with processes of their own, the ensembler has a port."""

    address: str = "127.0.0.1:50051"
    http: str = "127.0.0.1:8080"
    log_dir: Path = Path("/tmp/logs")
    names: tuple[str, ...] = ("ferry",)
    endpoints: list[Endpoint] = field(init=False)

    def __post_init__(self) -> None:
        processes = [Endpoint(name, f"127.0.0.1:{50051 + i}", "", 1, "ready", 0) for i, name in enumerate(self.names)]
        self.endpoints = [*processes, Endpoint("valkey", REDIS, "", 1, "ready", 0)]


def variant(name: str, version: str = "", *, away: bool = False) -> VariantStatus:
    models = (PipelineModel("arcface", version, "ab" * 32, 0.5, not away, None),) if version else ()
    return VariantStatus(name, 0.5, bool(version) and not away, "", models)


@pytest.fixture(autouse=True)
def _routing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "routing.toml").write_text(ROUTING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERRY_ROUTING_FILE", "routing.toml")


def said(
    capsys: pytest.CaptureFixture[str],
    *variants: VariantStatus,
    names: tuple[str, ...] = ("ferry",),
    as_json: bool = False,
) -> tuple[str, str]:
    status = ClusterStatus("0.1.0", 1.0, variants, CacheStatus(True, True, 0, 0))
    announce(cast("Cluster", Running(names=names)), status, Guard(False, "", False), as_json=as_json)
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_the_models_are_those_of_stable(capsys: pytest.CaptureFixture[str]) -> None:
    both = variant("stable", "1"), variant("canary", "2")
    out, err = said(capsys, *both, names=("gateway", "ensembler", "detector", "classifier-arcface"))
    assert "arcface 1" in out
    assert "arcface 2" not in out
    assert "Ferry answers at 127.0.0.1:50051." in out
    assert err == ""
    out, _ = said(capsys, *both, as_json=True)
    assert [model["version"] for model in json.loads(out)["models"]] == ["1"]


def test_a_canary_that_does_not_answer_is_named_with_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, variant("stable", "1"), variant("canary"))
    assert err == "variant canary does not answer yet at 127.0.0.1:50062\n"
    assert "Ferry answers at" in out


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("ferry",), ('address = "local:ensembler" in routing.toml', "--processes 0")),
        (("gateway", "proxy", "ensembler"), ('address = "127.0.0.1:50053" in routing.toml',)),
    ],
    ids=["one process", "a process each"],
)
def test_nobody_is_told_that_ferry_answers_where_stable_does_not(
    capsys: pytest.CaptureFixture[str], names: tuple[str, ...], remedy: tuple[str, ...]
) -> None:
    out, err = said(capsys, variant("stable"), names=names)
    assert "Ferry answers" not in out
    assert "curl" not in out
    assert "variant stable at 127.0.0.1:50052" in err
    assert all(words in err for words in remedy)
    out, err = said(capsys, variant("stable"), names=names, as_json=True)
    assert json.loads(out)["models"] == []
    assert "variant stable" in err


def test_a_variant_that_lacks_a_model_is_named_and_answers(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, variant("stable", "1", away=True))
    assert err == "variant stable at 127.0.0.1:50052: no answer from arcface\n"
    assert "Ferry answers at" in out


def test_the_address_of_redis_is_whole_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.output.answers.width", 80)
    out, _ = said(capsys, variant("stable", "1"))
    assert f"Redis: {REDIS} (--redis-url of ferry ab report and ferry rollout judge)" in out.splitlines()


def test_the_table_fits_80_columns_and_has_no_empty_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.announce.answers", Console(width=80))
    out, _ = said(capsys, variant("stable", "1"))
    head, *rows = out.partition("logs in")[0].strip().splitlines()
    assert head.split() == ["service", "address", "pid"]
    assert max(len(row) for row in rows) <= 80
    assert REDIS in out
