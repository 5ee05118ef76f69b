"""Every hostile request gets its clear answer in time; afterwards everything serves and memory is where it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from cli.cluster import Cluster
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e.conftest import all_serving, open_channel, resident, services
from tests.e2e.hostile import CASES, MB, PHOTO, STUBS, Case
from tests.processes import until
from tests.serving.images.files import encode

pytestmark = pytest.mark.e2e
GROWTH = 60 * MB


def answer(cluster: Cluster, case: Case) -> Any:
    """Makes the call; a stream is read to its end."""
    address = f"127.0.0.1:{services(cluster)[case.service]}"
    call_options: dict[str, Any] = {"timeout": case.timeout, "metadata": case.metadata}
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
        if isinstance(case.request, bytes):
            method = channel.unary_unary(f"/ferry.v1.ExpressionRecognition/{case.method}")
            return method(case.request, **call_options)
        method = getattr(STUBS[case.service](channel), case.method)
        if isinstance(case.request, list):
            return list(method(iter(case.request), **call_options))
        response = method(case.request, **call_options)
        return list(response) if case.method == "RecognizeBatch" else response


@pytest.fixture(scope="module")
def _memory(cluster: Cluster) -> Iterator[None]:
    """Before: a few honest requests, a large photo among them, so that every pool has its usual size."""
    large = encode(Image.effect_noise((4000, 3000), 50).convert("RGB"), "JPEG", quality=80)
    with open_channel(cluster.address) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        for image in (PHOTO, large, PHOTO):
            stub.Recognize(gateway_pb2.RecognizeRequest(image=image, bypass_cache=True), timeout=60)
    before, pids = resident(cluster), {e.name: e.pid for e in cluster.endpoints}
    yield
    assert {e.name: e.pid for e in cluster.endpoints} == pids  # nobody died and came back
    assert all_serving(cluster)
    until(lambda: not grown(cluster, before), seconds=20, what=f"memory as before ({grown(cluster, before)})")


def grown(cluster: Cluster, before: dict[str, int]) -> dict[str, str]:
    """Processes that hold more than GROWTH beyond what they held."""
    after = resident(cluster)
    return {n: f"{before[n] // MB} -> {after[n] // MB} MB" for n in before if after[n] > before[n] + GROWTH}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.usefixtures("_memory")
def test_hostile_requests(case: Case, cluster: Cluster) -> None:
    started = time.monotonic()
    if case.code is grpc.StatusCode.OK:
        answer(cluster, case)
        return
    with pytest.raises(grpc.RpcError) as caught:
        answer(cluster, case)
    error = caught.value
    assert time.monotonic() - started < case.timeout + 5
    assert error.code() is case.code, error.details()
    assert case.says in error.details()
    status = rpc_status.from_call(error)
    detail = error_details_pb2.BadRequest()
    named = [v.field for d in (status.details if status else ()) if d.Unpack(detail) for v in detail.field_violations]
    assert named == ([case.field] if case.field else [])
    assert "Traceback" not in error.details()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.usefixtures("_memory")
def test_all_at_once_beside_honest_callers(cluster: Cluster) -> None:
    """Honest callers get their answers while the whole table comes in again from four sides."""
    honest: list[int] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        with open_channel(cluster.address) as channel:
            stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
            while not stop.is_set():
                try:
                    reply = stub.Recognize(gateway_pb2.RecognizeRequest(image=PHOTO, bypass_cache=True), timeout=60)
                    honest.append(len(reply.faces))
                except grpc.RpcError as error:
                    failures.append(error)
                    return

    def attack(cases: list[Case]) -> None:
        for case in cases:
            try:
                answer(cluster, case)
            except grpc.RpcError as error:
                if case.code is grpc.StatusCode.OK or error.code() is grpc.StatusCode.UNAVAILABLE:
                    failures.append(error)

    cases = list(CASES.values())
    attackers = [threading.Thread(target=attack, args=(cases[i::4],)) for i in range(4)]
    caller = threading.Thread(target=ask)
    for thread in (caller, *attackers):
        thread.start()
    for thread in attackers:
        thread.join()
    stop.set()
    caller.join()
    assert not failures
    assert honest
    assert all(honest)
