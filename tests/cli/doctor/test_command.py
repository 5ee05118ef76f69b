"""A machine that knows no Kubernetes is told in short, and where its own cluster is asked after."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_main import ferry_command


def test_without_kubernetes_status_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'Error from server (NotFound): ' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    looked = ferry_command("doctor")
    assert looked.returncode == 2
    assert "`ferry status`" in looked.stderr
    assert "NotFound" not in looked.stderr
    assert len(looked.stderr) < 160
