"""Which versions of which models a service serves, as people write it: `arcface`, `arcface:latest`, `arcface:1+2`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from serving.repository.manifest import NAME_PATTERN, VERSION_PATTERN
from serving.repository.repository import LATEST, STABLE

MAX_POLICIES = 16


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """A model and its versions.

    Attributes:
        name: the model.
        versions: pinned versions, the first being the one that answers when none is asked for; or (`stable`,) or
            (`latest`,), which follow the repository.
    """

    name: str
    versions: tuple[str, ...]

    @property
    def follows(self) -> bool:
        """Whether the repository decides, not the policy."""
        return self.versions in {(STABLE,), (LATEST,)}


def parse_policies(text: str) -> tuple[VersionPolicy, ...]:
    """Parses `name[:stable | :latest | :version[+version...]][,...]`; the first model is the service's default.

    `stable`, which is also what a bare name means, is the promoted version, or the first where none was promoted.

    Raises:
        ValueError: it does not fit; says which part.
    """
    policies = []
    for part in (piece.strip() for piece in text.split(",")):
        name, _, wanted = part.partition(":")
        versions = tuple(wanted.split("+")) if wanted else (STABLE,)
        if not re.fullmatch(NAME_PATTERN, name):
            raise ValueError(f"{part!r}: a model name is 1 to 63 characters of a-z, 0-9, _ and -")
        if versions not in {(STABLE,), (LATEST,)} and not all(re.fullmatch(VERSION_PATTERN, v) for v in versions):
            raise ValueError(f"{part!r}: a version is a decimal number, several are joined by +")
        if len(set(versions)) != len(versions):
            raise ValueError(f"{part!r}: a version is named twice")
        policies.append(VersionPolicy(name, versions))
    if len({policy.name for policy in policies}) != len(policies):
        raise ValueError("a model is named twice")
    if not 1 <= len(policies) <= MAX_POLICIES:
        raise ValueError(f"name 1 to {MAX_POLICIES} models")
    return tuple(policies)
