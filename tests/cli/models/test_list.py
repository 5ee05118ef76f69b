"""`ferry models list`."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.processes import ROOT


def test_names_versions_and_digests_are_whole_in_a_narrow_terminal() -> None:
    command = [sys.executable, "-c", "from cli.main import main; main()", "models", "list"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True
    )
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    for name, digest in (("arcface", "474f2c442cbb"), ("detector", "94a503ff7b04"), ("efficientnet", "81e04ab2d25e")):
        assert f"{name} " in rows[name]
        assert " 1 stable " in rows[name]
        assert f" {digest} " in rows[name]
