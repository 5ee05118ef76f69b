"""What kubectl says, without what its libraries say before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.rollout import app
from cli.rollout.errors import NoClusterError, RolloutError
from cli.rollout.kubectl import Kubectl

NOISE = """\
E1128 21:47:58.342534   11845 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list"
E1128 21:47:59.034297   11845 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list"
"""
REASON = "The connection to the server localhost:8080 was refused - did you specify the right host or port?"


def kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("said", "shown"), [(NOISE + REASON, REASON), (NOISE, "memcache"), (REASON, REASON), ("", "exit code 1")]
)
def test_the_reason_is_shown_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, shown: str) -> None:
    (tmp_path / "said").write_text(said)
    script = f'case "$*" in *current-context*) echo kind;; *) cat {tmp_path / "said"} >&2; exit 1;; esac'
    kubectl(tmp_path, monkeypatch, script)
    with pytest.raises(RolloutError) as caught:
        Kubectl("ferry", None, dry_run=False, say=print).get("deployments")
    assert shown in str(caught.value)
    assert ("memcache" in str(caught.value)) == (said == NOISE)


def test_values_of_variables_are_neither_in_the_command_line_nor_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, monkeypatch, f'echo "$*" > {tmp_path}/asked; cat > {tmp_path}/given')
    variables = [{"name": "PASSWORD", "value": "hunter2"}, {"name": "NODE", "valueFrom": {"fieldRef": "spec.nodeName"}}]
    containers = [{"name": "ferry", "image": "detector:2", "env": [*variables, {"name": "OLD", "$patch": "delete"}]}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    said: list[str] = []
    Kubectl("ferry", None, dry_run=False, say=said.append).patch("deployment", "detector", patch)
    assert json.loads((tmp_path / "given").read_text()) == patch
    seen = (tmp_path / "asked").read_text() + "\n".join(said)
    assert "hunter2" not in seen
    for shown in ("patch deployment detector", "detector:2", '"PASSWORD"', '"value": "…"', "spec.nodeName", '"OLD"'):
        assert shown in seen


@pytest.mark.parametrize(("current", "named"), [("exit 1", True), ("echo kind", False)])
def test_a_kubectl_that_knows_no_cluster_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: str, named: bool
) -> None:
    """Without a context it asks localhost:8080, where `ferry serve` answers that it knows no such path."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    said = "echo 'Error from server (NotFound): the server could not find the requested resource' >&2"
    kubectl(tmp_path, monkeypatch, f'case "$*" in *current-context*) {current};; *) {said}; exit 1;; esac')
    with pytest.raises(RolloutError) as caught:
        Kubectl("ferry", None, dry_run=False, say=print).get("deployments")
    assert isinstance(caught.value, NoClusterError) == named
    assert ("KUBECONFIG" in str(caught.value)) == named
    assert ("NotFound" in str(caught.value)) != named


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["status"], "for gateways on this machine give --routing-file FILE"),
        (["canary", "--weight", "0.1"], "gateways on this machine follow their routing file"),
        (["promote"], "gateways on this machine follow their routing file"),
        (["rollback"], "gateways on this machine follow their routing file"),
    ],
)
def test_without_a_cluster_no_option_is_advised_that_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], hint: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    kubectl(tmp_path, monkeypatch, "exit 1")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert done.stderr.endswith(f"`kubectl config use-context`; {hint}\n")
    options = CliRunner().invoke(app, [command[0], "--help"], env={"COLUMNS": "200"}).stdout
    assert ("--routing-file" in done.stderr) == ("--routing-file" in options)
