"""Two tracks, each a fake ensembler, and a gateway that reads who answers from a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.fakes import FakeEnsembler, Gateway, running_ensembler, running_gateway

GONE = "127.0.0.1:1"


@dataclass
class Tracks:
    """Attributes:
    path: of the routing file.
    addresses: by name of the variant; a test may put others in.
    """

    stable: FakeEnsembler
    canary: FakeEnsembler
    path: Path
    stack: AsyncExitStack
    addresses: dict[str, str] = field(default_factory=dict)

    def write(self, shadow: float = 0.0, **weights: float) -> None:
        """Replaces the routing file as Kubernetes does: in one step."""
        lines = []
        for name, weight in weights.items():
            lines += ["[[variants]]", f'name = "{name}"', f'address = "{self.addresses[name]}"', f"weight = {weight}"]
            lines += [f"shadow = {shadow}"] if shadow and name != "stable" else []
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines))
        new.replace(self.path)

    async def gateway(self, **settings: Any) -> Gateway:
        fast = {"routing_interval": 0.1, "pipeline_interval": 0.02, "routing_file": self.path, "patience": 0.2}
        return await self.stack.enter_async_context(running_gateway(ensembler=GONE, **{**fast, **settings}))


@pytest.fixture
async def tracks(tmp_path: Path) -> AsyncIterator[Tracks]:
    async with AsyncExitStack() as stack:
        stable, canary = FakeEnsembler(), FakeEnsembler()
        canary.fingerprint = "c" * 64
        found = Tracks(stable, canary, tmp_path / "routing.toml", stack)
        for name, fake in (("stable", stable), ("canary", canary)):
            found.addresses[name] = await stack.enter_async_context(running_ensembler(fake))
        yield found
        stable.gate.set()
        canary.gate.set()
