"""Two whole copies behind one port: whoever calls is answered, whatever becomes of one of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import psutil
import pytest

from cli.cluster import Cluster, ClusterSettings
from ferry.client import Client
from ferry.transport import target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e.conftest import SAMPLES
from tests.processes import until
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
_PHOTO = SAMPLES["grace-hopper"].read_bytes()
_NEW_CONNECTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    models = tmp_path_factory.mktemp("models")
    publish(models, detector_manifest(), detector_graph())
    publish(models, classifier_manifest(), classifier_graph())
    settings = ClusterSettings(
        port=0, models_dir=models, classifiers={"tiny": 1.0}, processes=2, cache=False, embedded_redis=False
    )
    with Cluster(settings) as running:
        yield running


@contextmanager
def every_call_succeeds(call: Callable[[], object]) -> Iterator[None]:
    """Four callers, one call after the other each, from before the block to after it."""
    over, begun = threading.Event(), threading.Barrier(5)

    def go_on() -> None:
        call()
        begun.wait(60)
        while not over.is_set():
            call()

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(go_on) for _ in range(4)]
        try:
            begun.wait(60)
            yield
        finally:
            over.set()
        for caller in callers:
            caller.result()


def call_anew(address: str) -> None:
    """Over a connection of its own, which the kernel gives to whichever copy it likes; nothing is repeated."""
    with grpc.insecure_channel(target(address), _NEW_CONNECTIONS) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        stub.Recognize(gateway_pb2.RecognizeRequest(image=_PHOTO), timeout=60, wait_for_ready=True)


def started_again(copies: Cluster, times: int) -> Callable[[], bool]:
    return lambda: copies.endpoint("ferry-2").restarts == times and all(e.state == "ready" for e in copies.endpoints)


def test_both_answer_as_soon_as_the_cluster_is_ready(copies: Cluster) -> None:
    first, second = copies.endpoints
    assert first.address == second.address
    for _ in range(40):
        call_anew(copies.address)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_call_fails_while_one_ends_and_is_started_again(copies: Cluster, end: signal.Signals) -> None:
    restarts = copies.endpoint("ferry-2").restarts + 1
    second = psutil.Process(copies.endpoint("ferry-2").pid)
    with Client(copies.address) as client, every_call_succeeds(lambda: client.recognize(_PHOTO)):
        os.kill(second.pid, end)
        until(lambda: not second.is_running() or second.status() == psutil.STATUS_ZOMBIE, what="its end")
        # Nobody's call is in flight there any more.
        with every_call_succeeds(lambda: call_anew(copies.address)):
            until(started_again(copies, restarts), what="both to be ready")
