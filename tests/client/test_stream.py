"""Frames through the clients: numbered, renewed, the newest wins."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from ferry.client import (
    AsyncClient,
    Client,
    FerryError,
    InvalidImageError,
    InvalidRequestError,
    Recognition,
    UnavailableError,
)
from ferry.client.frames import AsyncFrames, Frames
from ferry.v1 import gateway_pb2
from serving.errors import UnauthenticatedError
from tests.client.conftest import FakeGateway
from tests.processes import free_port


class Camera:
    """Gives a frame whenever a test shoots one."""

    def __init__(self) -> None:
        self._film: queue.Queue[Any] = queue.Queue()
        self.read = 0

    def shoot(self, *frames: Any) -> None:
        for frame in frames:
            self._film.put(frame)

    @contextmanager
    def rolling(self) -> Iterator[None]:
        """Shoots all the while."""
        over = threading.Event()

        def shoot() -> None:
            while not over.wait(0.01):
                self.shoot(b"frame")

        thread = threading.Thread(target=shoot)
        thread.start()
        yield
        over.set()
        thread.join()

    def stop(self, error: Exception | None = None) -> None:
        self._film.put(error or StopIteration())

    def __iter__(self) -> Iterator[Any]:
        while not isinstance(frame := self._film.get(), Exception):
            self.read += 1
            yield frame
        if not isinstance(frame, StopIteration):
            raise frame

    async def __aiter__(self) -> AsyncIterator[Any]:
        frames = iter(self)
        while (frame := await asyncio.to_thread(next, frames, None)) is not None:
            yield frame


class Sync:
    """Drives the sync client through the async tests."""

    def __init__(self, address: str, **arguments: Any) -> None:
        self.client = Client(address, **arguments)

    async def stream(self, camera: Camera, **options: Any) -> AsyncIterator[Any]:
        items = self.client.recognize_stream(camera, **options)
        try:
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                yield item
        finally:
            items.close()  # type: ignore[attr-defined]

    async def close(self) -> None:
        self.client.close()


class Async:
    """The same for the async client."""

    def __init__(self, address: str, **arguments: Any) -> None:
        self.client = AsyncClient(address, **arguments)

    def stream(self, camera: Camera, **options: Any) -> AsyncIterator[Any]:
        return self.client.recognize_stream(camera, **options)

    async def close(self) -> None:
        await self.client.close()


@pytest.fixture(params=[Sync, Async])
async def client(request: pytest.FixtureRequest, address: str) -> AsyncIterator[Any]:
    driver = request.param(address)
    yield driver
    await driver.close()


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.stop()


def calls(gateway: FakeGateway) -> int:
    return len(gateway.lost)


async def test_each_frame_is_answered_under_its_number(client: Any, gateway: FakeGateway, camera: Camera) -> None:
    camera.shoot(b"0")
    answered = 0
    async for number, result in client.stream(camera, max_faces=3):
        assert number == answered
        assert isinstance(result, Recognition)
        answered += 1
        if answered == 3:
            camera.stop()
        else:
            camera.shoot(b"frame")
    assert answered == 3
    assert calls(gateway) == 1
    assert {frame.request.options.max_faces for frame in gateway.requests[1:]} == {3}


@pytest.mark.parametrize("ended_by", ["the gateway", "a loss", "time"])
async def test_frames_go_on_in_another_call(client: Any, gateway: FakeGateway, camera: Camera, ended_by: str) -> None:
    timeout = None
    if ended_by == "the gateway":
        gateway.frames_a_call = 2
    elif ended_by == "a loss":
        gateway.break_batch_after = 2
    else:
        timeout = 2.0
    numbers = []
    with camera.rolling():
        async for number, result in client.stream(camera, timeout=timeout):
            assert isinstance(result, Recognition)
            numbers.append(number)
            if calls(gateway) >= 2:
                break
    assert numbers == sorted(set(numbers))
    assert set(gateway.lost) == {None}, "no frame is sent twice, so none is a suspect"


async def test_calls_that_end_while_frames_are_sent_on_and_on_are_gone_on_after(
    address: str, gateway: FakeGateway
) -> None:
    """gRPC for asyncio does not say then how they ended."""
    gateway.frames_a_call = 2

    async def film() -> AsyncIterator[bytes]:
        while True:
            yield b"frame" * 10_000
            await asyncio.sleep(0)

    async with AsyncClient(address) as client:
        async for _, result in client.recognize_stream(film()):
            assert isinstance(result, Recognition)
            if calls(gateway) >= 8:
                break


async def test_a_call_that_waits_for_frames_is_renewed_without_an_error(
    client: Any, gateway: FakeGateway, camera: Camera
) -> None:
    items = client.stream(camera, timeout=0.8)
    camera.shoot(b"0")
    assert (await anext(items))[0] == 0
    threading.Timer(0.8, camera.shoot, (b"1",)).start()
    assert (await anext(items))[0] == 1
    assert calls(gateway) == 2
    camera.stop()
    assert await anext(items, None) is None


async def test_what_nobody_lets_in_is_an_error(client: Any, gateway: FakeGateway, camera: Camera) -> None:
    gateway.error = UnauthenticatedError("no key")
    camera.shoot(b"0")
    with pytest.raises(FerryError, match="no key") as caught:
        await anext(client.stream(camera))
    assert caught.value.code == "UNAUTHENTICATED"
    assert calls(gateway) == 1


@pytest.mark.parametrize("driver", [Sync, Async])
async def test_nobody_is_there(driver: Any, camera: Camera) -> None:
    client = driver(f"127.0.0.1:{free_port()}")
    camera.shoot(b"0")
    camera.stop()
    with pytest.raises(UnavailableError, match="no gateway answers"):
        await anext(client.stream(camera))
    await client.close()


async def test_a_frame_that_fails_fails_alone(client: Any, gateway: FakeGateway, camera: Camera) -> None:
    gateway.item_error = lambda request: (
        gateway_pb2.ItemError(code=3, message="image: broken", field="image") if request.image == b"broken" else None
    )
    items = client.stream(camera)
    told = []
    for shot in (b"broken", b"good"):
        camera.shoot(shot)
        told.append(await anext(items))
    camera.shoot("/no/such/file")
    camera.stop()
    told += [item async for item in items]
    assert [number for number, _ in told] == [0, 1, 2]
    assert isinstance(told[0][1], InvalidImageError)
    assert isinstance(told[1][1], Recognition)
    assert "cannot read /no/such/file" in str(told[2][1])


async def test_what_the_source_raises_comes_after_the_last_answer(client: Any, camera: Camera) -> None:
    camera.shoot(b"0")
    camera.stop(OSError("the camera is gone"))
    items = client.stream(camera)
    assert (await anext(items))[0] == 0
    with pytest.raises(OSError, match="the camera is gone"):
        await anext(items)


@pytest.mark.parametrize(("frame", "error"), [(3, TypeError), ("photo", None)])
async def test_what_is_no_image_is_an_error(
    client: Any, camera: Camera, frame: Any, error: type[Exception] | None
) -> None:
    camera.shoot(frame)
    camera.stop()
    if error is None:
        assert isinstance((await anext(client.stream(camera)))[1], InvalidImageError)
    else:
        with pytest.raises(error, match="an image is"):
            await anext(client.stream(camera))


async def test_wrong_options_never_leave(client: Any, gateway: FakeGateway, camera: Camera) -> None:
    with pytest.raises(InvalidRequestError):
        await anext(client.stream(camera, max_faces=-1))
    with pytest.raises(TypeError):
        await anext(client.stream(camera, faces=1))
    assert not gateway.requests


async def test_pixels_are_sent_as_jpeg(client: Any, gateway: FakeGateway, camera: Camera) -> None:
    items = client.stream(camera)
    for mode in ("RGB", "RGBA", "L", "P"):
        camera.shoot(Image.new(mode, (64, 48)))
        await anext(items)
    camera.stop()
    await anext(items, None)
    assert all(frame.request.image.startswith(b"\xff\xd8") for frame in gateway.requests[1:])


async def test_a_camera_is_let_go_of_when_nobody_listens(client: Any, camera: Camera) -> None:
    items = client.stream(camera)
    camera.shoot(b"0")
    await anext(items)
    await items.aclose()
    camera.shoot(b"1", b"2", b"3")
    camera.stop()
    end = time.monotonic() + 10
    while any(thread.name == "ferry-frames" for thread in threading.enumerate()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert camera.read <= 2


def test_the_newest_frame_wins() -> None:
    def source() -> Iterator[bytes]:
        yield from (b"0", b"1", b"2")
        read.set()
        go.wait(20)

    read, go = threading.Event(), threading.Event()
    frames = Frames(source(), {})
    assert read.wait(20)
    messages = frames.messages(20)
    assert next(messages).frame_id == 2
    other = frames.messages(20)
    assert next(messages, None) is None, "of a call that is over"
    go.set()
    assert next(other, None) is None
    assert not frames.wait()


async def test_the_newest_frame_wins_in_a_loop() -> None:
    async def source() -> AsyncIterator[bytes]:
        for frame in (b"0", b"1", b"2"):
            yield frame

    frames = AsyncFrames(source(), {})
    assert await frames.wait()
    assert [message.frame_id async for message in frames.messages(20)] == [2]
    assert not await frames.wait()
    await frames.close()
