"""One permit for each call: room is held while it lasts, comes back however it ends, and its end is learnt from."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from gateway.admission import permit
from gateway.admission.admission import Admission
from gateway.admission.permit import Call, Outcome, Permit
from gateway.settings import GatewaySettings
from serving.errors import InvalidArgumentError, NotFoundError, OverloadedError
from serving.rpc.context import RequestContext, current
from serving.rpc.identity import ANONYMOUS, Identity, Proof
from tests.gateway.admission.test_api_keys import line
from tests.gateway.fakes import jpeg

Status = grpc.StatusCode


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(permit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def admission(images: int = 2) -> Admission:
    return Admission(GatewaySettings(max_concurrency=images, max_in_flight_bytes=1 << 20))


@pytest.mark.parametrize("size", [1, 1 << 19])
def test_what_does_not_fit_is_refused_and_fits_when_another_ended(size: int) -> None:
    gate = admission()
    with gate.admit(Call(1, size)), gate.admit(Call(1, size)):
        with pytest.raises(OverloadedError):
            gate.admit(Call(1, size))
        assert gate.images == 2
    assert gate.images == 0
    with gate.admit(Call(1, size)):
        pass


def test_bytes_count_too_and_a_call_alone_is_never_refused() -> None:
    gate = admission()
    with gate.admit(Call(9, 5 << 20)), pytest.raises(OverloadedError):
        gate.admit(Call(1, 1))
    with gate.admit(Call(1, 1 << 19)), pytest.raises(OverloadedError):
        gate.admit(Call(1, (1 << 19) + 1))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, Status.OK),
        (InvalidArgumentError("image", "is none"), Status.INVALID_ARGUMENT),
        (asyncio.CancelledError(), Status.CANCELLED),
        (GeneratorExit(), Status.CANCELLED),
        (KeyError("x"), Status.INTERNAL),
    ],
)
def test_a_permit_tells_how_its_call_ended(
    error: BaseException | None, code: grpc.StatusCode, clock: list[float]
) -> None:
    ends: list[tuple[Call, Outcome]] = []
    call = Call(1, 10, Identity(Proof.API_KEY, "shop"))

    def work() -> None:
        with Permit(call, lambda *end: ends.append(end)):
            clock[0] += 3
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    assert ends == [(call, Outcome(code, 3))]


@pytest.mark.parametrize(("seconds", "least", "most"), [(2, 1, 3), (0.001, 0.05, 0.15), (60, 2.5, 7.5)])
def test_who_is_refused_comes_back_after_about_as_long_as_calls_take(
    seconds: float, least: float, most: float, clock: list[float]
) -> None:
    gate = admission(images=1)
    with gate.admit(Call(1, 1)):
        clock[0] += seconds
    # Failures say nothing about how long answers take.
    with suppress(NotFoundError), gate.admit(Call(1, 1)):
        clock[0] += 1000
        raise NotFoundError("no such variant")
    with gate.admit(Call(1, 1)):
        waits = []
        for _ in range(50):
            with pytest.raises(OverloadedError) as refused:
                gate.admit(Call(1, 1))
            waits.append(refused.value.retry_after)
    assert least <= min(waits) < max(waits) <= most


async def test_a_call_is_admitted_as_its_callers(start_gateway, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    asked: list[Call] = []
    admit = Admission.admit

    def remember(self: Admission, call: Call) -> Permit:
        asked.append(call)
        return admit(self, call)

    monkeypatch.setattr(Admission, "admit", remember)
    (tmp_path / "keys").write_text(line("shop", "s3cret"))
    guarded, open_to_all = await start_gateway(api_keys=tmp_path / "keys"), await start_gateway()
    await guarded.recognize(jpeg(), metadata=[("authorization", "Bearer s3cret")])
    await open_to_all.recognize(jpeg())
    size = len(jpeg())
    assert [(call.caller, call.images, call.size) for call in asked] == [
        (Identity(Proof.API_KEY, "shop"), 1, size),
        (ANONYMOUS, 1, size),
    ]


def test_a_caller_without_the_time_is_refused_at_once(clock: list[float]) -> None:
    gate = admission(images=100)
    for _ in range(30):
        with ExitStack() as calls:
            for _ in range(10):
                calls.enter_context(gate.admit(Call(1, 1)))
            clock[0] += 2
    with ExitStack() as calls:
        for _ in range(10):
            calls.enter_context(gate.admit(Call(1, 1)))
        patient, hurried = (RequestContext("x" * 8, time.monotonic() + seconds) for seconds in (60, 1))
        token = current.set(hurried)
        try:
            with pytest.raises(OverloadedError, match="in time") as refused:
                gate.admit(Call(1, 1))
            assert 0 < refused.value.retry_after < 5
            current.set(patient)
            calls.enter_context(gate.admit(Call(1, 1)))
        finally:
            current.reset(token)
    assert gate.images == 0


def test_a_call_is_refused_before_its_image_comes_only_where_hardly_any_answer_is_kept() -> None:
    gate = admission(images=1)
    with gate.admit(Call(1, 1)):
        for looks, kept in ((99, False), (1, True), (99, False)):
            for _ in range(looks):
                gate.looked(kept)
            gate.foresee()
        gate.looked(False)
        with pytest.raises(OverloadedError):
            gate.foresee()
    gate.foresee()
    assert gate.images == 0, "it holds nothing"


def test_callers_whose_time_is_up_are_learnt_from_and_those_who_leave_are_not(clock: list[float]) -> None:
    gate = admission(images=100)
    token = current.set(RequestContext("x" * 8, time.monotonic() + 10))
    try:
        for seconds, refused in ((1, False), (9.5, True)):
            for _ in range(50):
                with suppress(asyncio.CancelledError, OverloadedError), ExitStack() as calls:
                    for _ in range(5):
                        calls.enter_context(gate.admit(Call(1, 1)))
                    clock[0] += seconds
                    raise asyncio.CancelledError
            with ExitStack() as calls:
                with suppress(OverloadedError):
                    for _ in range(90):
                        calls.enter_context(gate.admit(Call(1, 1)))
                assert (gate.images < 90) == refused
    finally:
        current.reset(token)


def test_how_long_a_kept_answer_takes_says_nothing_of_the_next_call(clock: list[float]) -> None:
    gate = admission(images=100)

    def answer(seconds: float, *, found: bool) -> None:
        with gate.admit(Call(1, 1)), gate.admit(Call(1, 1)) as permit:
            if found:
                permit.found()
            clock[0] += seconds

    for _ in range(60):
        answer(1, found=False)
    for _ in range(60):
        answer(0.001, found=True)
    request = RequestContext("r", time.monotonic() + 5)
    token = current.set(request)
    try:
        with gate.admit(Call(1, 1)), gate.admit(Call(1, 1)), pytest.raises(OverloadedError, match="in time"):
            gate.admit(Call(9, 1))
    finally:
        current.reset(token)
