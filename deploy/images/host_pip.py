"""Lends this machine's pip configuration to a build: where its packages come from and whom it trusts.

The configuration is mounted while the build runs; neither the Dockerfile nor a layer knows of it.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.images.tool import call

_INSIDE = Path("/run/pip")
"""Where the files that the configuration names are mounted."""


def merged(listing: str) -> dict[str, str]:
    """What `pip config list` prints, as one value for each option; pip's own order of precedence is kept.

    >>> merged("global.cert='/a'\\ninstall.cert='/b'\\n:env:.cert='/c'")
    {'cert': '/c'}
    """
    found: dict[str, str] = {}
    # The sections from weak to strong.
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                found[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return found


def mounts(options: dict[str, str]) -> tuple[dict[str, str], dict[Path, Path]]:
    """The options as they read inside a build, and which of this machine's paths have to be mounted where."""
    inside: dict[str, str] = {}
    where: dict[Path, Path] = {}
    for key, value in options.items():
        words = []
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                # A folder of packages (PEP 503) links to files beside it: all of it is needed.
                top = path.parent if word.startswith("file://") else path
                mounted = where.setdefault(top, _INSIDE / str(len(where)))
                words.append(word.replace(str(top), str(mounted), 1))
            else:
                words.append(word)
        inside[key] = " ".join(words)
    return inside, where


@contextmanager
def volumes() -> Iterator[tuple[str, ...]]:
    """Flags for `buildah build`."""
    inside, where = mounts(merged(call(("python3", "-m", "pip", "config", "list"))))
    with tempfile.NamedTemporaryFile("w", prefix="ferry-pip-", suffix=".conf") as file:
        file.write("[global]\n" + "".join(f"{key} = {value}\n" for key, value in inside.items()))
        file.flush()
        # Readable for the build's user, whoever that is.
        Path(file.name).chmod(0o644)
        pairs = {Path(file.name): Path("/etc/pip.conf"), **where}
        yield tuple(f"--volume={outside}:{target}:ro" for outside, target in pairs.items())
