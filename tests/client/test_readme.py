"""What the README shows to callers runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.processes import ROOT


def test_the_example_runs(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    monkeypatch.chdir(tmp_path)
    exec(example[1].replace("localhost:50051", address), {})
    said = capsys.readouterr().out
    assert "happy 75%" in said
    assert "arcface 1 happy" in said
