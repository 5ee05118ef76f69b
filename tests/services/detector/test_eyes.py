"""Pictures that are looked at apart take turns, and hold up nobody who waits for no turn."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from ferry.v1 import detector_pb2
from services.detector import service as module
from services.detector.detected import Detected
from services.detector.options import check_options
from services.detector.service import DetectorService
from serving.errors import OverloadedError
from serving.images.apart.helper import Helper
from serving.images.cost import Outline, outline
from serving.images.decode import Picture, decode_reduced
from serving.rpc import context as request_context
from serving.rpc.context import Losses, RequestContext
from tests.gateway.fakes import eventually
from tests.services.detector.test_service import BRIGHT, picture, settings
from tests.services.running import serve
from tests.serving.images.files import encode
from tests.tiny_models import detector_graph, detector_manifest, publish

OPTIONS = check_options(detector_pb2.DetectRequest())
SUSPECT = picture(700, 700)
LOSSLESS = encode(Image.open(io.BytesIO(picture(300, 300))), "WEBP", lossless=True)
MAX_QUEUE = 2


class HeldUp(Helper):
    """Looks in this process, when it may."""

    def __init__(self, may: threading.Event) -> None:
        super().__init__("no.such.program")
        self._may = may
        self.asked = 0
        self.from_the_header_on = False

    @property
    def start_seconds(self) -> float:
        return 0.0

    def outline(self, data: bytes, max_megapixels: float) -> Outline:
        if self.from_the_header_on:
            self.asked += 1
            assert self._may.wait(60)
        return outline(data, max_megapixels)

    def decode(self, data: bytes, reduction: int, max_megapixels: float, memory: int) -> Picture:
        self.asked += 1
        assert self._may.wait(60)
        return decode_reduced(data, reduction, max_megapixels)


class Crowd:
    """Callers with pictures for other eyes, and some without."""

    def __init__(self, service: DetectorService, helper: HeldUp, image: bytes, losses: int) -> None:
        self._service = service
        self._image = image
        self._losses = losses
        self.helper = helper

    def comes(self) -> asyncio.Task[Detected]:
        return asyncio.create_task(self._detect(self._image, self._losses))

    async def honest(self) -> Detected:
        async with asyncio.timeout(30):
            return await asyncio.create_task(self._detect(BRIGHT, 0))

    async def _detect(self, image: bytes, losses: int) -> Detected:
        request_context.current.set(RequestContext("order-4711", time.monotonic() + 60, losses=Losses(losses)))
        return await self._service.detect(image, "", "", OPTIONS)


@pytest.fixture
def may() -> threading.Event:
    return threading.Event()


@pytest.fixture(params=[(SUSPECT, 1), (LOSSLESS, 0)], ids=["suspect", "lossless"])
async def crowd(
    tmp_path: Path, may: threading.Event, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Crowd]:
    """There is room for one such picture and an honest one."""
    image, losses = request.param
    helper = HeldUp(may)
    monkeypatch.setattr(module, "Helper", lambda: helper)
    publish(tmp_path, detector_manifest(), detector_graph())
    cost = outline(image).costs[1]
    room = cost.peak + cost.held + outline(BRIGHT).costs[1].peak
    chosen = settings(tmp_path, decode_budget=room, max_megapixels=0.5, max_queue=MAX_QUEUE)
    service = DetectorService(chosen)
    async with serve(service, chosen):
        yield Crowd(service, helper, image, losses)
        may.set()


async def test_those_who_wait_for_their_turn_hold_up_nobody_else(crowd: Crowd, may: threading.Event) -> None:
    others = [crowd.comes() for _ in range(1 + MAX_QUEUE)]
    await eventually(lambda: crowd.helper.asked == 1)
    for _ in range(3):
        assert len((await crowd.honest()).faces) == 1
    assert not any(other.done() for other in others)
    may.set()
    assert [len(found.faces) for found in await asyncio.gather(*others)] == [1] * len(others)


async def test_one_more_than_may_wait_for_a_turn_is_refused(crowd: Crowd, may: threading.Event) -> None:
    others = [crowd.comes() for _ in range(1 + MAX_QUEUE + 1)]
    (refused,), waiting = await asyncio.wait(others, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(refused.exception(), OverloadedError)
    may.set()
    assert [len(found.faces) for found in await asyncio.gather(*waiting)] == [1] * len(waiting)


async def test_who_leaves_gives_the_turn_back_when_the_thread_is_done(crowd: Crowd, may: threading.Event) -> None:
    leaving, waiting, last = (crowd.comes() for _ in range(3))
    await eventually(lambda: crowd.helper.asked == 1)
    for task in (leaving, waiting):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len((await crowd.honest()).faces) == 1
    may.set()
    assert len((await last).faces) == 1
    assert crowd.helper.asked == 2


@pytest.mark.parametrize("crowd", [(SUSPECT, 1)], indirect=True)
async def test_a_header_that_nobody_waits_for_any_more_keeps_its_turn_too(crowd: Crowd, may: threading.Event) -> None:
    crowd.helper.from_the_header_on = True
    leaving = crowd.comes()
    await eventually(lambda: crowd.helper.asked == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    others = [crowd.comes() for _ in range(MAX_QUEUE + 1)]
    (refused,), waiting = await asyncio.wait(others, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(refused.exception(), OverloadedError), "its picture would lie with the thread, counted by nobody"
    may.set()
    assert [len(found.faces) for found in await asyncio.gather(*waiting)] == [1] * MAX_QUEUE
