"""What to do where a package is missing."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

_EXTRAS: Final = ("local", "evaluate", "bench", "toolchain")
"""Those that people install, the smallest first."""
_CALLED: Final = {
    "PIL": "pillow",
    "cykooz": "cykooz-resizer",
    "hdrh": "hdrhistogram",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
"""Packages that are not called as their module is."""


def remedy(module: str) -> str:
    """How to get `module`, which cannot be imported."""
    top = module.partition(".")[0]
    if top in {"benchmarks", "deploy"}:
        return "run it in a checkout of Ferry's repository"
    return f"install it with `{install(_extra(_CALLED.get(top, top)))}`"


def install(extra: str) -> str:
    """The command that adds an extra to the Ferry that runs.

    By the interpreter that runs it: another environment's pip would not find it, and take what PyPI has under this
    name, which is another project.
    """
    return f"{shlex.quote(sys.executable)} -m pip install 'ferry[{extra}]'"


def _extra(package: str) -> str:
    """The smallest extra of Ferry that brings `package`; the largest where none is known to."""
    brings: dict[str, set[str]] = {}
    for extra, requirement in _requirements():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[([a-z,-]+)\])?", requirement)
        if match:
            of_ferry = match[1] == "ferry" and match[2]
            brings.setdefault(extra, set()).update(match[2].split(",") if of_ferry else [match[1].lower()])
    return next((extra for extra in _EXTRAS if package.lower() in _all(extra, brings)), _EXTRAS[-1])


def _requirements() -> Iterator[tuple[str, str]]:
    """Extra and requirement, as installed or, in a checkout that is not, as written down."""
    try:
        lines = metadata.requires("ferry") or []
    except metadata.PackageNotFoundError:
        lines = []
    file = Path(__file__).parents[1] / "pyproject.toml"
    if not lines and file.is_file():
        for extra, written in tomllib.loads(file.read_text())["project"]["optional-dependencies"].items():
            yield from ((extra, line) for line in written)
    for line in lines:
        match = re.search(r"extra == ['\"]([a-z-]+)['\"]", line)
        if match:
            yield match[1], line


def _all(extra: str, brings: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [extra]
    while waiting:
        for name in brings.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found
