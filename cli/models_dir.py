"""Where the commands look for models unless they are told."""

from __future__ import annotations

from pathlib import Path


def _default() -> Path:
    here, tree = Path("models"), Path(__file__).parents[1] / "models"
    return tree if tree.is_dir() and not here.is_dir() else here


MODELS_DIR = _default()
"""`models` here, or where there is none, beside the installed source tree."""
