"""What kubectl says, without what its libraries say before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.rollout.errors import RolloutError
from cli.rollout.kubectl import Kubectl

NOISE = """\
E1128 21:47:58.342534   11845 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list"
E1128 21:47:59.034297   11845 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list"
"""
REASON = "The connection to the server localhost:8080 was refused - did you specify the right host or port?"


@pytest.mark.parametrize(
    ("said", "shown"), [(NOISE + REASON, REASON), (NOISE, "memcache"), (REASON, REASON), ("", "exit code 1")]
)
def test_the_reason_is_shown_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, shown: str) -> None:
    program = tmp_path / "kubectl"
    (tmp_path / "said").write_text(said)
    program.write_text(f"#!/bin/sh\ncat {tmp_path / 'said'} >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(RolloutError) as caught:
        Kubectl("ferry", None, dry_run=False, say=print).get("deployments")
    assert shown in str(caught.value)
    assert ("memcache" in str(caught.value)) == (said == NOISE)
