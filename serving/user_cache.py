"""Where what can be made again is kept for the next start."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path | None:
    """Ferry's folder in the user's cache, which need not exist; None where nobody knows where this user is at home."""
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "ferry"
    except RuntimeError:
        return None
