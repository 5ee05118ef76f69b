"""Both clients against a gateway of a few lines."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import grpc
import pytest

from ferry.client import (
    AsyncClient,
    Client,
    DeadlineError,
    FerryError,
    InvalidImageError,
    InvalidRequestError,
    OverloadedError,
    Recognition,
    UnavailableError,
)
from ferry.v1 import gateway_pb2, types_pb2
from serving import errors
from tests.client.conftest import FakeGateway, serving
from tests.processes import free_port


class Sync:
    """Drives the sync client through the async tests."""

    def __init__(self, address: str, **arguments: Any) -> None:
        self.client = Client(address, **arguments)

    async def recognize(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.recognize(*args, **kwargs)

    async def batch(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.client.recognize_batch(*args, **kwargs))

    async def status(self) -> Any:
        return self.client.status()

    async def close(self) -> None:
        self.client.close()


class Async:
    """The same for the async client."""

    def __init__(self, address: str, **arguments: Any) -> None:
        self.client = AsyncClient(address, **arguments)

    async def recognize(self, *args: Any, **kwargs: Any) -> Any:
        return await self.client.recognize(*args, **kwargs)

    async def batch(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in self.client.recognize_batch(*args, **kwargs)]

    async def status(self) -> Any:
        return await self.client.status()

    async def close(self) -> None:
        await self.client.close()


@pytest.fixture(params=[Sync, Async])
async def client(request: pytest.FixtureRequest, address: str) -> Any:
    driver = request.param(address, metadata=[("x-team", "blue")])
    yield driver
    await driver.close()


async def test_an_answer_becomes_plain_data(client: Any) -> None:
    result = await client.recognize(b"12345")
    assert isinstance(result, Recognition)
    (face,) = result.faces
    assert face.box.xyxy == (1, 2, 6, 12)
    assert (face.box.width, face.box.height) == (5, 10)
    assert (face.score, face.expression, face.confidence) == (0.5, "happy", 0.75)
    assert list(face.probabilities) == ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprised"]
    assert sum(face.probabilities.values()) == pytest.approx(1)
    (opinion,) = face.models
    assert (opinion.model.name, opinion.model.version, opinion.expression) == ("arcface", "1", "happy")
    assert opinion.probabilities["happy"] == pytest.approx(0.7)
    assert (face.degraded, face.missing_models) == (True, ("efficientnet",))
    assert (result.image_size.width, result.image_size.height) == (640, 480)
    assert (result.cached, result.degraded, result.variant) == (True, True, "stable")
    assert result.timings.total_ms == 12.5
    assert result.request_id == "ef" * 16


async def test_images_come_as_path_bytes_or_file(client: Any, gateway: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"pixels")
    with path.open("rb") as opened:
        images: Iterable[Any] = (path, str(path), b"pixels", bytearray(b"pixels"), memoryview(b"pixels"), opened)
        for image in images:
            await client.recognize(image)
    assert [request.image for request in gateway.requests] == [b"pixels"] * 6


async def test_options_deadline_and_metadata_travel(client: Any, gateway: FakeGateway) -> None:
    await client.recognize(
        b"x", timeout=7, max_faces=3, test_time_augmentation=True, vote="hard", bypass_cache=True, min_face_size=20
    )
    (request,) = gateway.requests
    assert request.bypass_cache
    assert request.options.max_faces == 3
    assert request.options.test_time_augmentation
    assert request.options.vote == types_pb2.VOTE_HARD
    assert request.options.min_face_size == 20
    assert 0 < gateway.remaining < 8
    assert gateway.metadata["x-team"] == "blue"
    await client.recognize(b"x")
    assert 8 < gateway.remaining < 31


async def test_an_image_above_the_default_limit_of_grpc(client: Any) -> None:
    result = await client.recognize(bytes(8 << 20))
    assert result.faces[0].box.width == 8 << 20


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_faces": -1}, InvalidRequestError),
        ({"max_faces": "many"}, InvalidRequestError),
        ({"vote": "loud"}, InvalidRequestError),
        ({"faces": 3}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": float("inf")}, ValueError),
        ({"timeout": float("nan")}, ValueError),
    ],
)
async def test_wrong_options_never_leave(
    client: Any, gateway: FakeGateway, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await client.recognize(b"x", **options)
    assert gateway.requests == []


@pytest.mark.parametrize("driver", [Sync, Async])
async def test_a_timeout_is_a_number_of_seconds(client: Any, driver: Any) -> None:
    with pytest.raises(TypeError, match="timeout: is a number of seconds, not '5s'"):
        await client.recognize(b"x", timeout="5s")
    with pytest.raises(TypeError, match="timeout: is a number of seconds, not '5s'"):
        driver("127.0.0.1:1", timeout="5s")


@pytest.mark.parametrize("image", ["/nowhere/photo.jpg", "/", "a\0b"])
async def test_a_file_that_cannot_be_read(client: Any, image: str) -> None:
    with pytest.raises(InvalidImageError, match="cannot read") as caught:
        await client.recognize(image)
    assert caught.value.field == "image"


async def test_what_is_no_image_at_all(client: Any) -> None:
    for image in (None, 3, io.StringIO("text")):
        with pytest.raises(TypeError):
            await client.recognize(image)


async def test_errors_carry_what_helps(client: Any, gateway: FakeGateway) -> None:
    gateway.error = errors.InvalidArgumentError("image", "not an image")
    with pytest.raises(InvalidImageError, match="not an image") as invalid:
        await client.recognize(b"x")
    assert invalid.value.field == "image"
    assert invalid.value.request_id == gateway.metadata["x-request-id"]

    gateway.error = errors.InvalidArgumentError("options.max_faces", "at most 256")
    with pytest.raises(InvalidRequestError) as option:
        await client.recognize(b"x")
    assert not isinstance(option.value, InvalidImageError)
    assert option.value.field == "options.max_faces"

    gateway.error = errors.OverloadedError("busy", retry_after=2.5)
    with pytest.raises(OverloadedError, match="busy") as busy:
        await client.recognize(b"x")
    assert busy.value.retry_after == 2.5

    gateway.error = errors.DeadlineError("too late")
    with pytest.raises(DeadlineError, match="too late"):
        await client.status()

    gateway.error = errors.ServiceError("broken")
    with pytest.raises(FerryError, match="broken") as broken:
        await client.recognize(b"x")
    assert broken.value.code == "INTERNAL"


@pytest.mark.parametrize(("after", "timeout", "asked"), [(0.1, 30, 3), (0.6, 30, 1), (0.45, 0.8, 1)])
async def test_one_with_too_much_to_do_is_asked_again_soon(
    client: Any, gateway: FakeGateway, after: float, timeout: float, asked: int
) -> None:
    gateway.error, gateway.failures = errors.OverloadedError("busy", retry_after=after), 2
    with suppress(OverloadedError):
        assert (await client.recognize(b"x", timeout=timeout)).faces
    assert gateway.lost == [None] * asked


async def test_a_gateway_that_is_not_ready_is_asked_again(client: Any, gateway: FakeGateway) -> None:
    gateway.error, gateway.failures = errors.RefusedError("loading"), 2
    assert (await client.recognize(b"x")).faces
    assert gateway.lost == [None] * 3

    gateway.failures = 1
    assert (await client.status()).ferry_version
    gateway.failures = 1
    assert all(isinstance(item, Recognition) for _, item in await client.batch([b"a", b"b"]))

    gateway.failures = 100
    with pytest.raises(UnavailableError, match="loading"):
        await client.recognize(b"x")
    assert gateway.failures == 94


async def test_what_grpc_turned_away_is_sent_again_and_is_no_suspect(client: Any, gateway: FakeGateway) -> None:
    gateway.error, gateway.failures = errors.UnavailableError("turned away"), 3
    assert (await client.recognize(b"x")).faces
    assert gateway.lost == [None] * 4


@pytest.mark.parametrize(("size", "how", "counts"), [(1, "lost", "1"), (1 << 20, "lost", "1"), (1, "silent", None)])
async def test_what_a_gateway_was_lost_with_is_sent_once_more_and_says_so(
    client: Any, gateway: FakeGateway, size: int, how: str, counts: str | None
) -> None:
    """Whatever its size: gRPC's own retries end at 256 KiB. One that fell silent did with its node."""
    gateway.error, gateway.failures = errors.UnavailableError(how), 1
    assert (await client.recognize(bytes(size))).faces
    assert gateway.lost == [None, counts]

    gateway.failures, gateway.lost = 1, []
    assert all(isinstance(item, Recognition) for _, item in await client.batch([bytes(size)] * 2))
    assert gateway.lost == [None, counts]


async def test_a_request_costs_a_second_gateway_at_most(client: Any, gateway: FakeGateway) -> None:
    gateway.error = errors.UnavailableError("lost")
    with pytest.raises(UnavailableError, match="Socket closed"):
        await client.recognize(b"x")
    assert len(gateway.lost) == 2
    items = await client.batch([b"a", b"b"])
    assert all(isinstance(item, UnavailableError) for _, item in items)
    assert len(gateway.lost) == 4


async def test_what_a_gateway_says_of_services_behind_it_is_an_answer(client: Any, gateway: FakeGateway) -> None:
    gateway.error = errors.UnavailableError("no model could judge the faces")
    with pytest.raises(UnavailableError, match="no model"):
        await client.recognize(b"x")
    assert len(gateway.lost) == 1


@pytest.mark.parametrize("driver", [Sync, Async])
async def test_nobody_there_says_how_to_start(driver: Any) -> None:
    client = driver("127.0.0.1:1", timeout=10)
    with pytest.raises(UnavailableError, match="ferry serve") as caught:
        await client.recognize(b"x")
    assert str(caught.value).startswith("no gateway answers at 127.0.0.1:1 (Connection refused); ")
    await client.close()


async def test_a_batch_is_split_and_keeps_its_indices(client: Any, gateway: FakeGateway) -> None:
    gateway.reverse = True
    items = await client.batch([bytes(n + 1) for n in range(40)], max_faces=2)
    assert [len(request.requests) for request in gateway.requests] == [16, 16, 8]
    assert [index for index, _ in items] == [*range(15, -1, -1), *range(31, 15, -1), *range(39, 31, -1)]
    assert all(result.faces[0].box.width == index + 1 for index, result in items)
    assert all(item.options.max_faces == 2 for request in gateway.requests for item in request.requests)


async def test_large_images_travel_apart(client: Any, gateway: FakeGateway) -> None:
    items = await client.batch([bytes(24 << 20)] * 3)
    assert [len(request.requests) for request in gateway.requests] == [2, 1]
    assert sorted(index for index, _ in items) == [0, 1, 2]


async def test_an_image_that_fails_fails_alone(client: Any, gateway: FakeGateway) -> None:
    def item_error(request: gateway_pb2.RecognizeRequest) -> gateway_pb2.ItemError | None:
        if request.image != b"bad":
            return None
        return gateway_pb2.ItemError(code=3, message="image: broken", field="requests[1].image")

    gateway.item_error = item_error
    items = dict(await client.batch([b"good", b"bad", "/nowhere.jpg", b"good"]))
    assert sorted(items) == [0, 1, 2, 3]
    assert isinstance(items[0], Recognition)
    assert isinstance(items[1], InvalidImageError)
    assert "broken" in str(items[1])
    assert isinstance(items[2], InvalidImageError)
    assert isinstance(items[3], Recognition)


async def test_an_image_too_large_for_a_message_fails_alone(client: Any, gateway: FakeGateway) -> None:
    gateway.max_bytes = 1000
    images = [bytes(2000), bytes(10), bytes(3000), bytes(20)]
    items = dict(await client.batch(images))
    assert [type(items[index]).__name__ for index in range(4)] == ["InvalidImageError", "Recognition"] * 2
    with pytest.raises(InvalidImageError, match="larger than the cluster takes") as caught:
        await client.recognize(bytes(2000))
    assert (caught.value.field, caught.value.code) == ("image", "RESOURCE_EXHAUSTED")


async def test_sizes_are_announced(client: Any, gateway: FakeGateway) -> None:
    await client.recognize(bytes(1234))
    assert gateway.metadata["x-ferry-image-bytes"] == "1234"
    await client.batch([b"a", b"b", b"c"])
    assert gateway.announced == 3


async def test_a_broken_batch_goes_on_where_it_broke(client: Any, gateway: FakeGateway) -> None:
    gateway.break_batch_after = 3
    items = await client.batch([bytes(n + 1) for n in range(8)])
    assert sorted(index for index, _ in items) == list(range(8))
    assert all(isinstance(result, Recognition) for _, result in items)
    assert all(result.faces[0].box.width == index + 1 for index, result in items)
    assert [len(request.requests) for request in gateway.requests] == [8, 5]


async def test_a_batch_that_fails_after_its_last_answer_has_not_failed(client: Any, gateway: FakeGateway) -> None:
    gateway.hide_end = True
    items = await client.batch([b"a", b"b"])
    assert [index for index, _ in items] == [0, 1]
    assert all(isinstance(result, Recognition) for _, result in items)


async def test_a_refused_batch_is_an_error_for_each_image(client: Any, gateway: FakeGateway) -> None:
    gateway.error = errors.OverloadedError("busy", retry_after=2)
    items = await client.batch([b"a", b"b"])
    assert [index for index, _ in items] == [0, 1]
    assert all(isinstance(error, OverloadedError) and error.retry_after == 2 for _, error in items)


async def test_an_empty_batch(client: Any, gateway: FakeGateway) -> None:
    assert await client.batch([]) == []
    assert gateway.requests == []


async def test_status(client: Any) -> None:
    status = await client.status()
    assert status.ferry_version == "0.1.0"
    assert status.uptime == 1.5
    assert status.variants[0].models[0].name == "arcface"
    assert status.variants[0].models[0].available
    assert status.cache.enabled


def test_secure_channels_are_possible(address: str) -> None:
    with Client(address, credentials=grpc.ssl_channel_credentials(), timeout=5) as client, pytest.raises(FerryError):
        client.recognize(b"x")


@pytest.mark.parametrize("driver", [Sync, Async])
async def test_a_gateway_that_was_there_is_waited_for(driver: Any) -> None:
    port = free_port()
    client = driver(f"127.0.0.1:{port}", timeout=60)
    with serving(FakeGateway(), port):
        await client.recognize(b"x")
    back = Timer(1.0, lambda: kept.enter_context(serving(FakeGateway(), port)))
    with ExitStack() as kept:
        back.start()
        assert (await client.recognize(b"x")).faces
        back.join()
    # That it does not come back is said when the time is up, and to the next call soon.
    with pytest.raises(DeadlineError):
        await client.recognize(b"x", timeout=0.3)
    with pytest.raises(UnavailableError):
        await client.recognize(b"x", timeout=60)
    await client.close()


@pytest.mark.parametrize("driver", [Sync, Async])
async def test_a_first_call_outlasts_a_moment_in_which_it_is_refused(driver: Any) -> None:
    port = free_port()
    client = driver(f"127.0.0.1:{port}")
    opened = Timer(0.3, lambda: kept.enter_context(serving(FakeGateway(), port)))
    with ExitStack() as kept:
        opened.start()
        assert (await client.recognize(b"x")).faces
        opened.join()
    await client.close()


async def test_when_all_calls_fail_few_are_sent_again(client: Any, gateway: FakeGateway) -> None:
    gateway.error = errors.UnavailableError("lost")
    for _ in range(100):
        with pytest.raises(UnavailableError):
            await client.recognize(b"x")
    assert len(gateway.lost) <= 120
