"""Which versions of libraries are installed."""

from __future__ import annotations

import importlib.metadata


def installed_version(package: str) -> str:
    """Of a package; `none` where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
