"""Which Python packages an image has, and whether constraints.txt names their versions."""

from __future__ import annotations

import email
import re

from deploy.images.contents import Contents


def packages(found: Contents) -> dict[str, str]:
    """Normalised names (PEP 503) and versions of the Python packages in an image."""
    metadata = [email.message_from_string(text) for path, text in found.texts.items() if path.endswith("/METADATA")]
    return {re.sub(r"[-_.]+", "-", item["Name"]).lower(): str(item["Version"]) for item in metadata}


def unpinned(found: Contents, constraints: str) -> list[str]:
    """Packages (`name version`) that are in the image though constraints.txt does not say this version; Ferry itself
    is not asked for."""
    pins = dict(line.strip().split("==") for line in constraints.splitlines() if "==" in line)
    return [
        f"{name} {version}"
        for name, version in sorted(packages(found).items())
        if name != "ferry" and pins.get(name) != version
    ]
