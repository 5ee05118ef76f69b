"""What a call that failed is said to have failed by, and how soon a client finds out that a gateway hangs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import status_pb2

from ferry.client import AsyncClient, Client, DeadlineError, FerryError, UnavailableError, calls, errors
from ferry.client.calls import Call, metadata
from ferry.client.diagnosis import Endpoint
from ferry.client.repeats import KEPT_FOR_FAILURES, Repeats
from ferry.transport import LOST_KEY, STATUS_DETAILS_KEY, channel_options, ping_patience
from serving.errors import RefusedError
from tests.client.conftest import FakeGateway

AWAY = "no replica of the detector takes calls"
OPTION = "grpc.keepalive_timeout_ms"


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, said: str, *trailers: tuple[str, bytes]) -> None:
        self.code, self.details = lambda: code, lambda: said
        self.trailing_metadata = lambda: trailers


REFUSAL = Failure(
    grpc.StatusCode.UNAVAILABLE, AWAY, (STATUS_DETAILS_KEY, RefusedError(AWAY).to_status().SerializeToString())
)
HIDDEN = Failure(grpc.StatusCode.INTERNAL, "Internal error from Core")
LATE = Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(("refused_after", "error"), [(0.85, UnavailableError), (0.05, DeadlineError)])
def test_what_most_of_the_time_went_by_with_is_what_is_said(
    clock: list[float], refused_after: float, error: type[Exception]
) -> None:
    call = Call(Endpoint("127.0.0.1:1", None), Repeats(), 1.0, ())
    clock[0] += refused_after
    pause = call.pause(REFUSAL)
    assert pause is not None, "another gateway may have a way to a detector"
    clock[0] = 101.0
    assert call.pause(LATE) is None
    said = call.error(LATE)
    assert type(said) is error
    assert (AWAY in str(said)) is (error is UnavailableError)


def test_an_end_that_grpc_hides_may_be_gone_on_after_but_is_not_sent_again() -> None:
    repeats = Repeats()
    repeats.wait = True
    call = Call(Endpoint("127.0.0.1:1", None), repeats, 10.0, ())
    assert call.pause(HIDDEN, goes_on=True) is not None
    assert repeats.wait, "it had reached a gateway"
    assert all(key != LOST_KEY for key, _ in call.metadata), "nobody was lost with it"
    assert call.pause(HIDDEN) is None
    assert "ended while it was sent" in str(call.error(HIDDEN))
    told = Failure(grpc.StatusCode.INTERNAL, "a fault in the gateway")
    assert call.pause(told, goes_on=True) is None


@pytest.mark.parametrize(("timeout", "milliseconds"), [(1.0, 500), (3.0, 750), (30.0, 1000)])
@pytest.mark.parametrize("client", [Client, AsyncClient])
async def test_who_waits_briefly_waits_briefly_for_the_answer_to_a_ping(
    client: Any, timeout: float, milliseconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, int | str]] = []
    for place, real in ((grpc, grpc.insecure_channel), (grpc.aio, grpc.aio.insecure_channel)):

        def connect(target: str, options: Any, real: Any = real) -> Any:
            opened.append(dict(options))
            return real(target, options)

        monkeypatch.setattr(place, "insecure_channel", connect)
    made = client("127.0.0.1:1", timeout=timeout)
    assert made._stub is not None  # an AsyncClient opens its channel with its first call
    assert opened[0][OPTION] == milliseconds
    if client is Client:
        made.close()
    else:
        await made.close()


def test_a_hung_replica_is_found_within_the_time_of_a_caller_who_waits_a_second() -> None:
    options = dict(channel_options("test", ping_patience=ping_patience(1.0)))
    assert int(options["grpc.keepalive_time_ms"]) + int(options[OPTION]) < 1000


def test_a_key_out_of_a_file_is_sent_without_the_end_of_its_line() -> None:
    assert metadata([("a", "b")], " s3 cret\r\n") == (("a", "b"), ("authorization", "Bearer s3 cret"))
    assert metadata((), None) == metadata((), "") == ()


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("key", [" \n", "s3c\nret", "s3cr\u00e9t", "s3cr\u2028et", "s3c\x00ret", "s3c\x7fret"])
def test_a_key_that_cannot_be_sent_is_named_and_not_shown(client: Any, key: str) -> None:
    with pytest.raises(ValueError, match=r"^api_key ") as raised:
        client("127.0.0.1:1", api_key=key)
    assert "s3c" not in str(raised.value)
    with pytest.raises(TypeError, match="api_key: is text, not bytes"):
        client("127.0.0.1:1", api_key=key.encode())


def test_who_is_refused_by_the_crowd_leaves_repetitions_for_who_meets_a_failure() -> None:
    repeats = Repeats()
    crowd = [repeats.take(KEPT_FOR_FAILURES) for _ in range(20)]
    failures = [repeats.take() for _ in range(20)]
    assert (sum(crowd), sum(failures)) == (5, 5)


@pytest.mark.parametrize("kind", ["RetryInfo", "BadRequest", "ErrorInfo"])
def test_details_that_are_broken_say_nothing(kind: str) -> None:
    broken = Packed(type_url=f"type.googleapis.com/google.rpc.{kind}", value=b"\xff\xff")
    status = status_pb2.Status(code=8, message="full", details=[broken])
    failure = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (STATUS_DETAILS_KEY, status.SerializeToString()))
    call = Call(Endpoint("127.0.0.1:1", None), Repeats(), 10.0, ())
    assert call.pause(failure) is None
    assert isinstance(call.error(failure), FerryError)
    assert errors.refused(failure) is False


@pytest.mark.parametrize("client", [Client, AsyncClient])
async def test_no_proxy_lies_between_a_caller_and_its_own_machine(
    client: Any, address: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    made = client(address, timeout=5)
    answer = made.recognize(b"x")
    assert (answer if client is Client else await answer).faces
    if client is Client:
        made.close()
    else:
        await made.close()
