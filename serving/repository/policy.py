"""Which versions of which models a service serves, as a person writes it: `efficientnet`, `arcface:1+2`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from serving.repository.manifest import NAME_PATTERN, VERSION_PATTERN

LATEST = "latest"
MAX_POLICIES = 16


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """A model and its versions.

    Attributes:
        name: the model.
        versions: pinned versions, the first being the one that answers when none is asked for; or (`latest`,),
            which follows the repository.
    """

    name: str
    versions: tuple[str, ...]

    @property
    def follows_latest(self) -> bool:
        return self.versions == (LATEST,)


def parse_policies(text: str) -> tuple[VersionPolicy, ...]:
    """Parses `name[:latest | :version[+version...]][,...]`; the first model is the service's default.

    Raises:
        ValueError: it does not fit; says which part.
    """
    policies = []
    for part in (piece.strip() for piece in text.split(",")):
        name, _, wanted = part.partition(":")
        versions = tuple(wanted.split("+")) if wanted else (LATEST,)
        if not re.fullmatch(NAME_PATTERN, name):
            raise ValueError(f"{part!r}: a model name is 1 to 63 characters of a-z, 0-9, _ and -")
        if versions != (LATEST,) and not all(re.fullmatch(VERSION_PATTERN, v) for v in versions):
            raise ValueError(f"{part!r}: a version is a decimal number, several are joined by +")
        if len(set(versions)) != len(versions):
            raise ValueError(f"{part!r}: a version is named twice")
        policies.append(VersionPolicy(name, versions))
    if len({policy.name for policy in policies}) != len(policies):
        raise ValueError("a model is named twice")
    if not 1 <= len(policies) <= MAX_POLICIES:
        raise ValueError(f"name 1 to {MAX_POLICIES} models")
    return tuple(policies)
