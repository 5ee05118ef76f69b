"""Classifiers that some crops kill, as real processes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import SERVING, free_port, health, process
from tests.services.classifier.deadly import NAME


@dataclass(frozen=True)
class Fleet:
    """Replicas of one classifier."""

    ports: list[int]
    processes: list[subprocess.Popen[str]]

    @property
    def address(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def dead(self) -> int:
        return sum(process.poll() is not None for process in self.processes)


@asynccontextmanager
async def fleets(models_dir: Path, replicas: int, *models: str) -> AsyncIterator[list[Fleet]]:
    """For each of the models so many replicas, once all are serving."""
    with ExitStack() as stack:
        running = []
        for model in models:
            ports = [free_port() for _ in range(replicas)]
            flags = ["--models-dir", str(models_dir), "--models", model, "--backend", "onnxruntime", "--threads", "1"]
            command = ["-m", NAME, *flags, "--reload-interval", "0", "--port"]
            running.append(Fleet(ports, [stack.enter_context(process([*command, str(port)])) for port in ports]))
        async with asyncio.timeout(60):
            for port in [port for fleet in running for port in fleet.ports]:
                while await asyncio.to_thread(health, port) != SERVING:
                    await asyncio.sleep(0.1)
        yield running
