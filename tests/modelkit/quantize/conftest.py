from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

# Without the toolchain's packages these files cannot even be imported.
collect_ignore_glob = [] if importlib.util.find_spec("pyarrow") else ["test_*.py"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def ferry(data: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command of `ferry models`; what it prints, on both streams."""
    from typer.testing import CliRunner

    from cli.models import app

    monkeypatch.setenv("FERRY_MODELS_DIR", str(models))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: str, fails: bool = False) -> str:
        options = ["--data", str(data), "--work-dir", str(tmp_path / "work")]
        result = CliRunner().invoke(app, [*arguments, *options])
        assert result.exit_code == int(fails), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.stdout if "--json" in arguments else result.output

    return run
