"""Pictures that end the process that decodes them, and processes that end by themselves: what it costs, and whom.

Detectors are real processes; the services before them are real too, in this process.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ferry.client import AsyncClient, InvalidImageError
from gateway.service import GatewayService
from gateway.settings import GatewaySettings
from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from services.ensembler.recipe import ClassifierEntry, ModelEntry, Recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from serving.server import Server, Service
from serving.settings import ServiceSettings
from serving.telemetry import metrics
from tests.processes import SERVING, free_port, health, process
from tests.services.detector.deadly import DEADLY_HEADER, DEADLY_PIXELS, NAME
from tests.services.detector.test_service import BRIGHT, picture
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish

pytestmark = pytest.mark.e2e
DETECTORS = 3
PHOTO = picture(640, 480)


@dataclass
class Chain:
    """A client of a gateway, and the detectors behind it."""

    client: AsyncClient
    detectors: list[subprocess.Popen[str]]

    @property
    def dead(self) -> int:
        return sum(detector.poll() is not None for detector in self.detectors)

    async def faces(self, image: bytes) -> int:
        return len((await self.client.recognize(image, bypass_cache=True)).faces)


async def started(stack: AsyncExitStack, service: Service, settings: ServiceSettings) -> str:
    server = Server(service, settings)
    await server.start()
    stack.push_async_callback(server.stop)
    return f"127.0.0.1:{server.port}"


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    publish(tmp_path, detector_manifest(), detector_graph())
    publish(tmp_path, classifier_manifest(), classifier_graph())
    models: dict[str, Any] = {"models_dir": tmp_path, "backend": "onnxruntime", "threads": 1, "reload_interval": 0}
    flags = ["--models-dir", str(tmp_path), "--backend", "onnxruntime", "--threads", "1", "--reload-interval", "0"]
    async with AsyncExitStack() as stack:
        ports = [free_port() for _ in range(DETECTORS)]
        detectors = [stack.enter_context(process(["-m", NAME, *flags, "--port", str(port)])) for port in ports]
        judging = ClassifierSettings(models="tiny", port=0, **models)
        classifier = await started(stack, ClassifierService(judging), judging)
        recipe = Recipe(
            detector=ModelEntry(name="detector", address=",".join(f"127.0.0.1:{port}" for port in ports)),
            classifiers=(ClassifierEntry(name="tiny", address=classifier),),
        )
        voting = EnsemblerSettings(port=0)
        ensembler = await started(stack, EnsemblerService(voting, recipe), voting)
        edge = GatewaySettings(port=0, ensembler_address=ensembler)
        address = await started(stack, GatewayService(edge), edge)
        async with asyncio.timeout(60):
            while not all([await asyncio.to_thread(health, port) == SERVING for port in ports]):
                assert not any(detector.poll() is not None for detector in detectors)
                await asyncio.sleep(0.1)
        yield Chain(await stack.enter_async_context(AsyncClient(address)), detectors)


def confirmed() -> float:
    return metrics.SUSPECTS.labels("detector", "retried")._value.get()


@pytest.mark.parametrize("mark", [DEADLY_HEADER, DEADLY_PIXELS])
async def test_a_deadly_picture_costs_one_detector_and_its_caller_is_told(chain: Chain, mark: bytes) -> None:
    retried = confirmed()
    for _ in range(2 * DETECTORS):  # until every detector is known to all
        assert await chain.faces(BRIGHT) == 1
    with pytest.raises(InvalidImageError, match="ends the process that decodes it") as caught:
        await chain.faces(BRIGHT + mark)
    assert caught.value.field == "image"
    assert chain.dead == 1
    assert confirmed() == retried + 1
    for _ in range(2 * DETECTORS):
        assert await chain.faces(BRIGHT) == 1
    assert chain.dead == 1


async def test_a_detector_that_is_killed_costs_no_call(chain: Chain) -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        for _ in range(30):
            assert await chain.faces(PHOTO) == 1
            asked += 1
            if asked == 40:
                chain.detectors[0].send_signal(signal.SIGKILL)

    await asyncio.gather(*(ask() for _ in range(8)))
    assert chain.dead == 1


async def test_a_suspect_is_answered_as_any_other(chain: Chain) -> None:
    """Whoever says that a replica was lost gets the same answer, from the detector's other eyes."""
    plain = await chain.client.recognize(BRIGHT, bypass_cache=True)
    client = AsyncClient(chain.client.address, metadata=[("x-ferry-lost", "1")])
    async with client:
        suspect = await client.recognize(BRIGHT, bypass_cache=True)
        with pytest.raises(InvalidImageError, match="not a readable"):
            await client.recognize(b"no picture")
    assert [(face.box, face.probabilities) for face in suspect.faces] == [
        (face.box, face.probabilities) for face in plain.faces
    ]
    assert chain.dead == 0
